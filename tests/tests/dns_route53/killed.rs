//! An edge that is killed while it writes, and the next one on its file.

use super::*;

#[tokio::test]
async fn an_edge_killed_between_requests_converges_without_a_duplicate() {
    const RECORDS: usize = 400;
    let route53 = Route53::start().await;
    let foreign = Set::simple("theirs.example.com", "A", 60, &["192.0.2.77"]);
    route53.world().put(foreign);
    let lines =
        format!("addresses = \"pop\"\npolicy = {{ type = \"weighted\", weight = 85 }}\n{CHECK}");
    let records: String = (0..RECORDS)
        .map(|n| record(&format!("w{n:03}"), &lines))
        .collect();
    route53.world().hang_at = Some(2);
    let edge = edge(&toml("fra1", &route53.toml(), &records)).await;
    until("the second request is under way", PATIENCE, async || {
        route53.world().requests == 2
    })
    .await;
    edge.signal("KILL");
    let before = route53.world().sets();
    // NS, SOA and the foreign one are there as well; an A and an AAAA a record.
    assert!(
        before.len() > 3 && before.len() < 3 + 2 * RECORDS,
        "{}",
        before.len()
    );

    route53.world().hang_at = None;
    let edge = edge.restart().await;
    until("all of it is there", PATIENCE, async || {
        let dns = &edge.state().await["dns"];
        dns["owned"] == 2 * RECORDS && dns["changes"]["create"] == 0 && dns["error"].is_null()
    })
    .await;
    let world = route53.world();
    let after = world.sets();
    assert_eq!(after.len(), 3 + 2 * RECORDS);
    assert!(
        before.iter().all(|set| after.contains(set)),
        "what the first one wrote, and what is not ours, is as it was"
    );
    assert_eq!(
        world.checks.len(),
        2,
        "the checks that were made before are found again"
    );
}
