//! Ranges that are brought along: AWS's states, and what an announcer is told and says.

use serde_json::{Value, json};

use super::fake::{Api, text};
use crate::api::errors::Exception;

#[tokio::test]
async fn ranges_are_brought_along_advertised_withdrawn_and_given_back() {
    let api = Api::new();
    let auth = json!({ "Message": "1|aws|123456789012|203.0.113.0/24|20300101|SHA256|RSAPSS", "Signature": "s" });
    let cidr = json!({ "Cidr": "203.0.113.0/24" });
    let made = api
        .ok(
            "ProvisionByoipCidr",
            json!({ "Cidr": "203.0.113.0/24", "CidrAuthorizationContext": auth }),
        )
        .await;
    assert_eq!(made["ByoipCidr"]["State"], "PENDING_PROVISIONING");
    let listed = |all: Value| text(&all["ByoipCidrs"][0]["State"]);
    assert_eq!(listed(api.ok("ListByoipCidrs", json!({})).await), "READY");
    let made = api
        .ok(
            "CreateAccelerator",
            json!({ "Name": "a", "IpAddresses": ["203.0.113.7"], "IdempotencyToken": "t" }),
        )
        .await;
    assert_eq!(
        made["Accelerator"]["IpSets"][0]["IpAddresses"],
        json!(["203.0.113.7", "192.0.2.1"])
    );
    let again = json!({ "Name": "b", "IpAddresses": ["203.0.113.7"], "IdempotencyToken": "u" });
    api.refused("CreateAccelerator", again, Exception::InvalidArgument)
        .await;
    assert_eq!(
        api.ok("AdvertiseByoipCidr", cidr.clone()).await["ByoipCidr"]["State"],
        "PENDING_ADVERTISING"
    );
    assert_eq!(
        listed(api.ok("ListByoipCidrs", json!({})).await),
        "ADVERTISING"
    );
    let advertised = || api.edge.advertised.lock().expect("whole").len();
    assert_eq!(advertised(), 1);
    api.refused(
        "DeprovisionByoipCidr",
        cidr.clone(),
        Exception::IncorrectCidrState,
    )
    .await;
    assert_eq!(
        api.ok("WithdrawByoipCidr", cidr.clone()).await["ByoipCidr"]["State"],
        "PENDING_WITHDRAWING"
    );
    assert_eq!(advertised(), 0);
    api.ok("AdvertiseByoipCidr", cidr.clone()).await;
    api.refused("WithdrawByoipCidr", cidr.clone(), Exception::Throttling)
        .await;
    // The next process announces what this one did, before anybody asks it for anything.
    let later = Api::over(api.store.clone());
    assert_eq!(later.edge.advertised.lock().expect("whole").len(), 1);
}

#[tokio::test]
async fn a_range_is_pending_until_the_announcer_has_done_it() {
    let api = Api::new();
    let cidr = json!({ "Cidr": "203.0.113.0/24" });
    let provision = json!({ "Cidr": "203.0.113.0/24", "CidrAuthorizationContext": { "Message": "m", "Signature": "s" } });
    api.ok("ProvisionByoipCidr", provision).await;
    let announces = |ranges: &[&str]| {
        let ranges = ranges.iter().map(|net| net.parse().expect("a prefix"));
        *api.edge.announced.lock().expect("whole") = Some(ranges.collect());
    };
    let state = async || text(&api.ok("ListByoipCidrs", json!({})).await["ByoipCidrs"][0]["State"]);
    announces(&[]);
    api.ok("AdvertiseByoipCidr", cidr.clone()).await;
    assert_eq!(state().await, "PENDING_ADVERTISING");
    announces(&["203.0.113.0/24"]);
    assert_eq!(state().await, "ADVERTISING");
    api.ok("WithdrawByoipCidr", cidr.clone()).await;
    assert_eq!(state().await, "PENDING_WITHDRAWING");
    for operation in ["AdvertiseByoipCidr", "DeprovisionByoipCidr"] {
        api.refused(operation, cidr.clone(), Exception::IncorrectCidrState)
            .await;
    }
    announces(&[]);
    assert_eq!(state().await, "READY");
    api.ok("DeprovisionByoipCidr", cidr).await;
}
