//! Flows that outlive both their endpoint and the process that opened them.

use super::*;

#[test]
fn a_drain_goes_on_in_a_successor_that_never_knew_the_endpoint() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let (mut client, _socket) = begun(&world, &endpoint);
    let drain = Verdict {
        number: 1,
        address: AddressId(1),
        decided: Instant::now(),
        fate: Fate::Drain {
            until: Instant::now().checked_add(PATIENCE),
        },
    };
    world.publish(2, vec![drain]);
    let mut flows = wait_for("the flow", || {
        Some(world.edge.export_flows()).filter(|flows| !flows.is_empty())
    });
    assert!(flows[0].drain_left.is_some_and(|left| left <= PATIENCE));
    flows[0].drain_left = Some(Duration::from_millis(50));
    let successor = self::world(ListenerSettings::default(), &[]);
    successor.edge.adopt_flows(flows);
    assert!(client.read(&mut [0]).is_err(), "a reset");
    successor.record(EndCause::DrainTimeout);
}
