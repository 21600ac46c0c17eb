//! Classes of errors, paces and backoff as tables; endpoints as the file and the environment say.

use std::time::Instant;

use proptest::prelude::*;

use super::pace::Bucket;
use super::*;

#[test]
fn errors_fall_into_classes_by_code_then_by_status() {
    let cases: [(Option<&str>, Option<u16>, ErrorClass); 16] = [
        (
            Some("ThrottlingException"),
            Some(400),
            ErrorClass::Throttled,
        ),
        (
            Some("com.amazonaws.globalaccelerator#ThrottlingException"),
            Some(400),
            ErrorClass::Throttled,
        ),
        (Some("Throttling"), Some(400), ErrorClass::Throttled),
        (
            Some("RequestLimitExceeded"),
            Some(503),
            ErrorClass::Throttled,
        ),
        (
            Some("PriorRequestNotComplete"),
            Some(400),
            ErrorClass::Throttled,
        ),
        (None, Some(503), ErrorClass::Throttled),
        (Some("AccessDeniedException"), Some(400), ErrorClass::Denied),
        (Some("ExpiredToken"), Some(403), ErrorClass::Denied),
        (None, Some(403), ErrorClass::Denied),
        (
            Some("LoadBalancerNotFound"),
            Some(400),
            ErrorClass::NotFound,
        ),
        (
            Some("InvalidInstanceID.NotFound"),
            Some(400),
            ErrorClass::NotFound,
        ),
        (Some("NoSuchHostedZone"), Some(404), ErrorClass::NotFound),
        (Some("ValidationError"), Some(400), ErrorClass::Refused),
        (
            Some("InternalServiceErrorException"),
            Some(400),
            ErrorClass::Unavailable,
        ),
        (None, Some(500), ErrorClass::Unavailable),
        (None, Some(200), ErrorClass::Malformed),
    ];
    for (code, status, expected) in cases {
        assert_eq!(
            ErrorClass::of(code, status),
            expected,
            "{code:?} {status:?}"
        );
    }
}

#[test]
fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
    let start = Instant::now();
    let mut bucket = Bucket::new(10, 3, start);
    let waits: Vec<u128> = (0..5).map(|_| bucket.take(start).as_millis()).collect();
    assert_eq!(waits, [0, 0, 0, 100, 200]);
    let later = start + Duration::from_secs(60);
    let waits: Vec<u128> = (0..4).map(|_| bucket.take(later).as_millis()).collect();
    assert_eq!(waits, [0, 0, 0, 100], "no more is saved up than the burst");
}

#[test]
fn backoff_doubles_under_a_cap_and_leaves_the_rest_to_chance() {
    let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(20));
    let most: Vec<u128> = (1..9)
        .map(|attempt| backoff.wait(attempt, 1.0).as_millis())
        .collect();
    assert_eq!(most, [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]);
    assert_eq!(backoff.wait(3, 0.0), Duration::ZERO);
    assert_eq!(backoff.wait(u32::MAX, 0.5), Duration::from_secs(10));
}

proptest! {
    /// Over any span a bucket gives its burst and its rate, never more.
    #[test]
    fn a_bucket_never_gives_more_than_its_rate(steps in prop::collection::vec(0u64..400, 1..200), rate in 1u32..50, burst in 1u32..20) {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate, burst, start);
        let mut now = start;
        let mut used = Vec::new();
        for step in steps {
            now += Duration::from_millis(step);
            used.push(now + bucket.take(now));
        }
        let last = *used.iter().max().expect("one at least");
        let span = last.duration_since(start).as_secs_f64();
        prop_assert!(used.len() as f64 <= f64::from(burst) + span * f64::from(rate) + 1.0);
    }
}

fn aws(endpoint_url: Option<&str>) -> Aws {
    let text = format!(
        "[aws]\nendpoint_url = \"{}\"\n",
        endpoint_url.unwrap_or_default()
    );
    let loaded = portolan_config::file::parse(&text, std::path::Path::new("portolan.toml"));
    loaded
        .expect("a valid file")
        .config
        .aws
        .expect("[aws] is there")
}

#[tokio::test]
async fn clients_by_hand_go_where_the_file_says() {
    let session = Session::open(&aws(Some("http://127.0.0.1:5555"))).await;
    assert_eq!(
        session.endpoint(Service::Ec2, "eu-west-1"),
        "http://127.0.0.1:5555"
    );
    assert_eq!(format!("{session:?}"), "Session { .. }");
}

#[tokio::test]
async fn an_account_without_a_role_is_told_by_name() {
    let session = Session::open(&aws(Some("http://127.0.0.1:5555"))).await;
    let account = Account::Other("222222222222".into());
    let call = Call {
        service: Service::Elb,
        operation: "DescribeLoadBalancers",
        account: &account,
        region: "us-east-1",
    };
    let error = session.config(&call).await.expect_err("no role");
    assert_eq!(error.class(), ErrorClass::Credentials);
    assert_eq!(
        error.to_string(),
        "elasticloadbalancing:DescribeLoadBalancers in us-east-1, account 222222222222: credentials: \
         no role reads account 222222222222: add one to roles of [aws]"
    );
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_told_at_once() {
    let short = Timings {
        attempt: Duration::from_millis(10),
        backoff: Duration::from_millis(1),
        ..Timings::default()
    };
    let calls = Arc::<Calls>::default();
    let session = Session::open_with(&aws(Some("http://127.0.0.1:5555")), short).await;
    let session = session.counting(calls.clone());
    let call = Call {
        service: Service::Sts,
        operation: "GetCallerIdentity",
        account: &Account::Own,
        region: "us-east-1",
    };
    for (class, attempts) in [(ErrorClass::Throttled, 4), (ErrorClass::Denied, 1)] {
        let asked = std::cell::Cell::new(0);
        let answer: Result<(), CallError> = session
            .call(&call, || {
                asked.set(asked.get() + 1);
                std::future::ready(Err(Fault::new(class, "no")))
            })
            .await;
        assert_eq!(
            (asked.get(), answer.expect_err("no answer").attempts),
            (attempts, attempts)
        );
    }
    let hang: Result<(), CallError> = session.call(&call, std::future::pending).await;
    assert_eq!(hang.expect_err("no answer").class(), ErrorClass::Timeout);
    let answer = session.call(&call, || std::future::ready(Ok(()))).await;
    assert_eq!(answer, Ok(()));
    let sts = Service::ALL.iter().position(|s| *s == Service::Sts);
    let sts = sts.expect("it is one of all");
    let counted: Vec<(&str, u64)> = Calls::results()
        .into_iter()
        .enumerate()
        .map(|(result, name)| (name, calls.get(sts, result)))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(
        counted,
        [("ok", 1), ("throttled", 4), ("timeout", 4), ("denied", 1)],
        "every attempt"
    );
}

#[tokio::test]
async fn calls_wait_their_turn() {
    let mut aws = aws(Some("http://127.0.0.1:5555"));
    (aws.calls_per_second, aws.burst) = (20, 2);
    let session = Session::open(&aws).await;
    let call = Call {
        service: Service::Elb,
        operation: "DescribeLoadBalancers",
        account: &Account::Own,
        region: "us-east-1",
    };
    let begin = Instant::now();
    for _ in 0..8 {
        let asked = session.call(&call, || std::future::ready(Ok(())));
        asked.await.expect("it is answered");
    }
    // Two at once, and six a twentieth of a second apart: a busy machine makes it longer, nothing makes it shorter.
    assert!(begin.elapsed() >= Duration::from_millis(290));
}
