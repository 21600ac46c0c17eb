//! EC2's answers as the service model writes them, whole and cut off.

use super::*;

const INSTANCES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><reservationSet>
<item><instancesSet><item><instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState>
<ipAddress>198.51.100.1</ipAddress><privateIpAddress>10.0.0.1</privateIpAddress>
<networkInterfaceSet><item><ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address></item></ipv6AddressesSet></item></networkInterfaceSet></item>
<item><instanceId>i-2</instanceId><instanceState><name>stopped</name></instanceState><unknown/></item></instancesSet></item>
<item><instancesSet><item><instanceId>i-3</instanceId><instanceState><name>terminated</name></instanceState></item></instancesSet></item>
</reservationSet><nextToken>more</nextToken></DescribeInstancesResponse>"#;

#[test]
fn instances_are_read_with_their_addresses() {
    let answer: Instances = read(INSTANCES).expect("readable");
    assert_eq!(answer.next_token.as_deref(), Some("more"));
    let reservations = answer.reservation_set.expect("there").item;
    let read: Vec<_> = reservations
        .into_iter()
        .flat_map(|r| r.instances_set.expect("there").item)
        .map(instance)
        .collect();
    let running = InstanceFacts {
        state: "running".into(),
        public: Some("198.51.100.1".parse().unwrap()),
        private: Some("10.0.0.1".parse().unwrap()),
        ipv6: Some("2001:db8::1".parse().unwrap()),
    };
    assert_eq!(read[0], ("i-1".into(), Resource::Instance(running)));
    let ids: Vec<&str> = read.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["i-1", "i-2", "i-3"]);
}

#[test]
fn an_answer_that_is_cut_off_is_no_answer_wherever_it_is_cut() {
    for cut in 0..INSTANCES.len() {
        let read: Result<Instances, Fault> = read(&INSTANCES[..cut]);
        assert_eq!(
            read.err().map(|fault| fault.class),
            Some(ErrorClass::Malformed),
            "cut at {cut}"
        );
    }
    for strange in [
        "",
        "{}",
        "<html>Response></html>",
        "<DescribeInstancesResponse></DescribeInstancesResponse>x",
    ] {
        assert!(read::<Instances>(strange).is_err(), "{strange}");
    }
}

#[test]
fn an_empty_list_is_a_list_and_no_list_is_none() {
    let empty: Instances = read(
        "<R><reservationSet/></R>"
            .replace("R>", "Response>")
            .as_str(),
    )
    .expect("readable");
    assert_eq!(empty.reservation_set.map(|set| set.item.len()), Some(0));
    let none: Instances = read("<Response><requestId>r</requestId></Response>").expect("readable");
    assert!(none.reservation_set.is_none());
}

#[test]
fn errors_are_read_in_both_forms_and_html_by_its_status() {
    let own = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors><RequestID>r</RequestID></Response>";
    let other = "<ErrorResponse><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error><RequestId>r</RequestId></ErrorResponse>";
    for body in [own, other] {
        let fault = refusal(403, body, None);
        assert_eq!(
            (fault.class, fault.request_id.as_deref()),
            (ErrorClass::Denied, Some("r"))
        );
    }
    let dry = refusal(
        412,
        &own.replace("UnauthorizedOperation", "DryRunOperation"),
        None,
    );
    assert_eq!(dry.code.as_deref(), Some("DryRunOperation"));
    assert_eq!(
        refusal(500, "<html><body>x", None).class,
        ErrorClass::Unavailable
    );
}
