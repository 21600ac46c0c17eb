//! Publication against moto, over the wire shapes that others wrote: the records that the two articles ask for, exactly so, and what
//! is not ours the same afterwards, byte for byte.

use portolan_tests::moto::Moto;
use portolan_tests::publication::{Pop, record, toml};
use portolan_tests::{binary, http};

const FOREIGN: &str = "<Change><Action>CREATE</Action><ResourceRecordSet><Name>www.example.com.</Name><Type>A</Type><TTL>300</TTL>\
<ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change>\
<Change><Action>CREATE</Action><ResourceRecordSet><Name>regional.example.com.</Name><Type>TXT</Type><TTL>300</TTL><ResourceRecords>\
<ResourceRecord><Value>\"not ours\"</Value></ResourceRecord></ResourceRecords></ResourceRecordSet></Change>";

/// moto with a zone `example.com`, and records in it that are not ours.
struct Zone {
    moto: Moto,
    id: String,
}

impl Zone {
    async fn start() -> Option<Zone> {
        let moto = Moto::start().await?;
        let body = "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>example.com</Name>\
                    <CallerReference>12345</CallerReference></CreateHostedZoneRequest>";
        let said = ask(&moto, "POST", "/2013-04-01/hostedzone", body).await;
        let id = between(&said, "<Id>/hostedzone/", "</Id>").expect("moto makes the zone");
        let zone = Zone { moto, id };
        let batch = format!(
            "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>{FOREIGN}\
             </Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
        );
        ask(
            &zone.moto,
            "POST",
            &format!("/2013-04-01/hostedzone/{}/rrset/", zone.id),
            &batch,
        )
        .await;
        Some(zone)
    }

    /// Every record set, as moto spells it.
    async fn sets(&self) -> Vec<String> {
        let path = format!("/2013-04-01/hostedzone/{}/rrset", self.id);
        let said = ask(&self.moto, "GET", &path, "").await;
        let parts = said.split("<ResourceRecordSet>").skip(1);
        parts
            .map(|part| {
                part.split("</ResourceRecordSet>")
                    .next()
                    .unwrap_or_default()
            })
            .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    async fn foreign(&self) -> Vec<String> {
        let mut sets = self.sets().await;
        sets.retain(|set| !set.contains("portolan") && !set.contains("app.example.com"));
        sets
    }

    fn pop(&self, name: &str, records: &str) -> Pop {
        Pop::new(&toml(name, &self.moto.toml(), records))
    }
}

/// moto takes the service out of the credential scope; it verifies nothing.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20261120/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0";

async fn ask(moto: &Moto, method: &str, path: &str, body: &str) -> String {
    let (status, said) = http::send(moto.at(), method, path, AUTHORIZATION, body)
        .await
        .expect("moto answers");
    assert!(status < 300, "{status}: {said}");
    said
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0.to_owned())
}

#[tokio::test]
async fn the_first_articles_record_ends_up_exactly_so() {
    let Some(zone) = Zone::start().await else {
        return;
    };
    let foreign = zone.foreign().await;
    let pop = zone.pop("fra1", &record("app", "accelerator = \"shop\"\nttl = 60"));
    pop.converge(&[]).await;
    let sets = zone.sets().await;
    let app: Vec<&String> = sets
        .iter()
        .filter(|set| set.contains("<Name>app.example.com.</Name>"))
        .collect();
    let [app] = app[..] else { panic!("{sets:#?}") };
    for part in [
        "<Type>A</Type>",
        "<TTL>60</TTL>",
        "<Value>203.0.113.1</Value>",
        "<Value>203.0.113.2</Value>",
    ] {
        assert!(app.contains(part), "{part} in {app}");
    }
    assert_eq!(app.matches("<Value>").count(), 2);
    assert!(
        !app.contains("SetIdentifier") && !app.contains("Weight"),
        "{app}"
    );
    assert_eq!(zone.foreign().await, foreign);

    pop.rewrite(&toml("fra1", &zone.moto.toml(), ""));
    pop.converge(&[]).await;
    assert!(
        zone.sets()
            .await
            .iter()
            .all(|set| !set.contains("app.example.com"))
    );
    assert_eq!(zone.foreign().await, foreign);
}

#[tokio::test]
async fn the_second_articles_records_and_health_checks_end_up_exactly_so() {
    let Some(zone) = Zone::start().await else {
        return;
    };
    let foreign = zone.foreign().await;
    let regions = [
        ("fra1", "eu-central-1"),
        ("iad1", "us-east-1"),
        ("sin1", "ap-southeast-1"),
    ];
    for (pop, region) in regions {
        let check = "health_check = { port = 8088, path = \"/readyz\" }";
        let weighted = format!(
            "addresses = \"pop\"\npolicy = {{ type = \"weighted\", weight = 85 }}\n{check}"
        );
        let nearest = format!(
            "addresses = \"pop\"\npolicy = {{ type = \"latency\", region = \"{region}\" }}\n{check}"
        );
        let records = record("regional", &weighted) + &record("nearest", &nearest);
        zone.pop(pop, &records).converge(&[]).await;
    }
    let sets = zone.sets().await;
    let of = |name: &str, kind: &str| {
        let name = format!("<Name>{name}.example.com.</Name>");
        let kind = format!("<Type>{kind}</Type>");
        let found = sets
            .iter()
            .filter(|set| set.contains(&name) && set.contains(&kind));
        found.collect::<Vec<_>>()
    };
    for kind in ["A", "AAAA"] {
        let weighted = of("regional", kind);
        assert_eq!(weighted.len(), 3, "{sets:#?}");
        assert!(
            weighted
                .iter()
                .all(|set| set.contains("<Weight>85</Weight>") && set.contains("<HealthCheckId>"))
        );
        let nearest = of("nearest", kind);
        assert_eq!(nearest.len(), 3);
        for (pop, region) in regions {
            let id = format!("<SetIdentifier>portolan:edge:{pop}</SetIdentifier>");
            let set = nearest
                .iter()
                .find(|set| set.contains(&id))
                .expect("each PoP has one");
            assert!(set.contains(&format!("<Region>{region}</Region>")), "{set}");
        }
    }
    let checks = ask(&zone.moto, "GET", "/2013-04-01/healthcheck", "").await;
    assert_eq!(
        checks.matches("<CallerReference>portolan1:edge:").count(),
        6,
        "{checks}"
    );
    assert!(
        checks.contains("<ResourcePath>/readyz</ResourcePath>"),
        "{checks}"
    );
    assert_eq!(zone.foreign().await, foreign);
}

#[tokio::test]
async fn an_alias_to_a_load_balancer_finds_its_hosted_zone() {
    let Some(zone) = Zone::start().await else {
        return;
    };
    let query = async |service: &str, form: &str| {
        let scope = AUTHORIZATION.replace("/route53/", &format!("/{service}/"));
        let target = format!("/?{form}");
        let (status, said) = http::send(zone.moto.at(), "POST", &target, &scope, "")
            .await
            .expect("moto answers");
        assert_eq!(status, 200, "{said}");
        said
    };
    let subnets = query("ec2", "Action=DescribeSubnets&Version=2016-11-15").await;
    let ids = subnets.split("<subnetId>").skip(1).zip(1..=2);
    let ids = ids.map(|(rest, number)| {
        let id = rest.split('<').next().unwrap_or_default();
        format!("&Subnets.member.{number}={id}")
    });
    let form = format!(
        "Action=CreateLoadBalancer&Version=2015-12-01&Name=web&Scheme=internet-facing{}",
        ids.collect::<String>()
    );
    let made = query("elasticloadbalancing", &form).await;
    let name = between(&made, "<DNSName>", "</DNSName>").expect("it has a name");
    let its_zone = between(&made, "<CanonicalHostedZoneId>", "</CanonicalHostedZoneId>");
    let its_zone = its_zone.expect("it has a zone");
    let lines = format!("alias = \"{name}\"\nevaluate_target_health = true");
    zone.pop("fra1", &record("lb", &lines)).converge(&[]).await;
    let sets = zone.sets().await;
    let aliases: Vec<&String> = sets
        .iter()
        .filter(|s| s.contains("<AliasTarget>"))
        .collect();
    assert_eq!(aliases.len(), 2, "A and AAAA: {sets:#?}");
    for alias in aliases {
        let expected = format!("<HostedZoneId>{its_zone}</HostedZoneId>");
        assert!(
            alias.contains(&expected) && alias.contains(&name),
            "{alias}"
        );
    }
}

/// README's commands, with moto at another port.
#[tokio::test]
async fn readmes_tour_goes_as_it_is_told() {
    let readme = std::fs::read_to_string(binary::root().join("README.md"));
    let readme = readme.expect("README.md is there");
    let tour = between(&readme, "<!-- dns:begin -->", "<!-- dns:end -->").expect("a tour");
    let file = between(&tour, "<<'TOML'\n", "\nTOML\n").expect("it writes a file");
    let Some(zone) = Zone::start().await else {
        return;
    };
    let pop = Pop::new(&file.replace("127.0.0.1:5000", &zone.moto.at().to_string()));
    let told = |command: &str| -> Vec<&str> {
        let (_, rest) = tour.split_once(command).expect("the command is in it");
        let said = rest.lines().skip(1);
        let said = said.take_while(|line| !line.starts_with("$ ") && !line.starts_with("```"));
        said.filter(|line| *line != "...").collect()
    };
    // The zone of these tests holds two records more than a new one.
    let plan = pop.run(&["plan"]).await;
    for line in told("$ portolan dns plan") {
        let line = line.replace("Existing=2", "Existing=4");
        assert!(plan.out.contains(&line), "{line:?} in\n{}", plan.out);
    }
    let checksum = between(&plan.out, "--plan ", " ").expect("it says how to apply it");
    let applied = pop
        .run(&["apply", "--plan", &checksum, "--mode", "sync"])
        .await;
    for line in told("$ portolan dns apply") {
        assert!(applied.out.contains(line), "{line:?}: {applied:?}");
    }
    let again = pop.run(&["plan"]).await;
    assert!(again.out.contains("Nothing to change."), "{again:?}");
}

#[tokio::test]
async fn three_thousand_records_are_planned_and_applied() {
    let Some(zone) = Zone::start().await else {
        return;
    };
    let records: String = (0..1500)
        .map(|n| record(&format!("app{n}"), "accelerator = \"one\""))
        .collect();
    let pop = zone.pop("fra1", &records);
    assert_eq!(pop.plan(&[]).await["counts"]["create"], 3000);
    pop.converge(&[]).await;
}
