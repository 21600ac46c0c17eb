//! AWS's own signer is the judge: what it signs is taken, and nothing that differs from it in a byte.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as aws_sign};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn keys() -> Keys {
    Keys(vec![Key {
        id: "AKIDEXAMPLE".to_owned(),
        secret: SECRET.to_owned(),
        session_token: None,
    }])
}

/// The same key, which a token must come with.
fn temporary(token: &str) -> Keys {
    let mut keys = keys();
    keys.0[0].session_token = Some(token.to_owned());
    keys
}

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// The headers of a request, signed by AWS's signer.
fn signed(body: &[u8], region: &str, token: Option<&str>, time: SystemTime) -> HeaderMap {
    let identity = Credentials::new(
        "AKIDEXAMPLE",
        SECRET,
        token.map(str::to_owned),
        None,
        "test",
    )
    .into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .expect("complete")
        .into();
    let base = [
        ("host", "127.0.0.1:9980"),
        ("content-type", "application/x-amz-json-1.1"),
        (
            "x-amz-target",
            "GlobalAccelerator_V20180706.ListAccelerators",
        ),
    ];
    let request = SignableRequest::new(
        "POST",
        "http://127.0.0.1:9980/",
        base.into_iter(),
        SignableBody::Bytes(body),
    )
    .expect("signable");
    let (instructions, _) = aws_sign(request, &params).expect("signed").into_parts();
    let mut headers = HeaderMap::new();
    for (name, value) in base {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let (given, _) = instructions.into_parts();
    for header in given {
        let name: HeaderName = header.name().parse().expect("a name");
        headers.insert(name, header.value().parse().expect("a value"));
    }
    headers
}

#[test]
fn what_aws_signs_is_taken_in_any_region() {
    for region in ["us-west-2", "eu-central-1", "nowhere"] {
        let headers = signed(b"{}", region, None, at());
        let caller = keys().verify(&headers, b"{}", at()).expect(region);
        assert_eq!(caller.access_key_id.as_deref(), Some("AKIDEXAMPLE"));
    }
}

#[test]
fn five_minutes_are_forgiven_and_no_more() {
    let headers = signed(b"{}", "us-west-2", None, at());
    for (seconds, fine) in [(299, true), (301, false)] {
        let by = Duration::from_secs(seconds);
        assert_eq!(keys().verify(&headers, b"{}", at() + by).is_ok(), fine);
        assert_eq!(keys().verify(&headers, b"{}", at() - by).is_ok(), fine);
    }
}

#[test]
fn every_difference_is_refused_by_its_name() {
    let refused = |change: fn(&mut HeaderMap), body: &[u8]| {
        let mut headers = signed(b"{}", "us-west-2", None, at());
        change(&mut headers);
        keys().verify(&headers, body, at()).unwrap_err().exception
    };
    assert_eq!(refused(|_| {}, b"{ }"), Exception::InvalidSignature);
    let target = |h: &mut HeaderMap| {
        h.insert(
            "x-amz-target",
            HeaderValue::from_static("GlobalAccelerator_V20180706.DeleteAccelerator"),
        );
    };
    assert_eq!(refused(target, b"{}"), Exception::InvalidSignature);
    let unsigned = |h: &mut HeaderMap| {
        h.remove(AUTHORIZATION);
    };
    assert_eq!(
        refused(unsigned, b"{}"),
        Exception::MissingAuthenticationToken
    );
    let no_date = |h: &mut HeaderMap| {
        h.remove(DATE);
    };
    assert_eq!(refused(no_date, b"{}"), Exception::IncompleteSignature);
    let basic = |h: &mut HeaderMap| {
        h.insert(
            AUTHORIZATION,
            HeaderValue::from_static("Basic Zm9vOmJhcg=="),
        );
    };
    assert_eq!(refused(basic, b"{}"), Exception::IncompleteSignature);
    let stranger = |h: &mut HeaderMap| {
        let text = h[AUTHORIZATION]
            .to_str()
            .expect("text")
            .replace("AKIDEXAMPLE", "AKIDSOMEBODY");
        h.insert(AUTHORIZATION, text.parse().expect("a value"));
    };
    assert_eq!(refused(stranger, b"{}"), Exception::UnrecognizedClient);
    let headers = signed(b"{}", "us-west-2", Some("a-session-token"), at());
    assert_eq!(
        keys().verify(&headers, b"{}", at()).unwrap_err().exception,
        Exception::UnrecognizedClient
    );
}

#[test]
fn a_session_token_must_be_the_one_that_is_configured() {
    let token = "IQoJb3JpZ2luX2VjEA==/a+session+token";
    let with = |token: Option<&str>| signed(b"{}", "us-west-2", token, at());
    let verified = |headers: &HeaderMap| temporary(token).verify(headers, b"{}", at()).map(|_| ());
    let refused = |headers: &HeaderMap| verified(headers).unwrap_err().exception;
    assert_eq!(verified(&with(Some(token))), Ok(()));
    assert_eq!(refused(&with(None)), Exception::UnrecognizedClient);
    for other in [
        "IQoJb3JpZ2luX2VjEA==/a+session+tokem",
        "IQoJ",
        "IQoJb3JpZ2luX2VjEA==/a+session+token2",
    ] {
        assert_eq!(refused(&with(Some(other))), Exception::UnrecognizedClient);
    }
    // Put beside a signature that does not cover it.
    let mut added = with(None);
    added.insert(SECURITY_TOKEN, HeaderValue::from_static(token));
    assert_eq!(refused(&added), Exception::IncompleteSignature);
}

#[test]
fn what_aws_signs_must_be_signed() {
    let mut headers = signed(b"{}", "us-west-2", None, at());
    headers.insert("x-amz-user-agent", HeaderValue::from_static("added"));
    let refused = keys().verify(&headers, b"{}", at()).unwrap_err();
    assert_eq!(refused.exception, Exception::IncompleteSignature);
    assert!(refused.message.contains("x-amz-user-agent"), "{refused}");
    // The operation is in such a header: one that was signed without it is nobody's word.
    let text = headers[AUTHORIZATION].to_str().expect("text");
    let without = text.replace(";x-amz-target", "");
    let mut headers = signed(b"{}", "us-west-2", None, at());
    headers.insert(AUTHORIZATION, without.parse().expect("a value"));
    let refused = keys().verify(&headers, b"{}", at()).unwrap_err();
    assert_eq!(refused.exception, Exception::IncompleteSignature);
}

#[test]
fn keys_are_read_from_their_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("secret"), format!("{SECRET}\n")).expect("written");
    std::fs::write(path("token"), "a-session-token\n").expect("written");
    std::fs::write(path("two"), "one line\nand another\n").expect("written");
    let read = |token: Option<&str>| {
        Keys::read(&[Credential {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key_file: path("secret"),
            session_token_file: token.map(path),
        }])
    };
    let keys = read(Some("token")).expect("both are there");
    let headers = signed(b"{}", "us-west-2", Some("a-session-token"), at());
    assert!(keys.verify(&headers, b"{}", at()).is_ok());
    for broken in ["two", "missing"] {
        let error = read(Some(broken)).err().expect("refused").to_string();
        assert!(
            error.contains("session_token_file") && error.contains(broken),
            "{error}"
        );
    }
}

#[test]
fn without_keys_everybody_may_ask_and_is_named_as_far_as_is_known() {
    let open = Keys(Vec::new());
    assert_eq!(
        open.verify(&HeaderMap::new(), b"", at()),
        Ok(Caller {
            access_key_id: None
        })
    );
    let headers = signed(b"{}", "us-west-2", Some("token"), at());
    assert_eq!(
        open.verify(&headers, b"other", at())
            .expect("open")
            .access_key_id
            .as_deref(),
        Some("AKIDEXAMPLE")
    );
}

proptest! {
    #[test]
    fn any_body_that_aws_signs_is_taken(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let headers = signed(&body, "us-west-2", None, at());
        prop_assert!(keys().verify(&headers, &body, at()).is_ok());
    }

    #[test]
    fn no_header_makes_it_panic(text in "\\PC{0,200}", date in "[0-9TZ]{0,20}") {
        let mut headers = HeaderMap::new();
        for value in [text.clone(), format!("{ALGORITHM} Credential={text}, SignedHeaders={text}, Signature={text}"),
            format!("{ALGORITHM} Credential=AKIDEXAMPLE/20270115/r/{SERVICE}/aws4_request, SignedHeaders=host;x-amz-date;{text}, Signature={text}")] {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(AUTHORIZATION, value);
            }
            headers.insert(DATE, HeaderValue::from_bytes(date.as_bytes()).expect("digits"));
            prop_assert!(keys().verify(&headers, b"", at()).is_err());
        }
    }
}
