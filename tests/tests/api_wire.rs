//! What a stranger may do to the API: bodies of every kind, heads of every kind, and none of it stops it or makes it grow.

use std::time::Duration;

use portolan_tests::api::{Place, SECRET, text};
use portolan_tests::deadline::{PATIENCE, eventually, patiently};
use portolan_tests::{client, place};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LIST: (&str, &str) = (
    "x-amz-target",
    "GlobalAccelerator_V20180706.ListAccelerators",
);

async fn exception(at: &Place, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    let (status, body) = at.post(headers, body).await.expect("an answer");
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    assert!(answer.get("Message").is_some() || status == 200, "{answer}");
    (
        status,
        answer["__type"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn bodies_that_are_none_get_the_right_exception() {
    let at = Place::fresh();
    let _edge = at.edge("").ready().await;
    let deep = [
        b"{\"Name\":".repeat(10_000),
        b"1".to_vec(),
        b"}".repeat(10_000),
    ]
    .concat();
    let cases: [(Vec<u8>, u16, &str); 6] = [
        (
            b"\xff\xfe\x00garbage".to_vec(),
            400,
            "SerializationException",
        ),
        (b"[1, 2".to_vec(), 400, "SerializationException"),
        (b"[]".to_vec(), 400, "SerializationException"),
        (deep, 400, "SerializationException"),
        (
            b"{\"MaxResults\": \"ten\"}".to_vec(),
            400,
            "SerializationException",
        ),
        (
            b"{\"MaxResults\": 0}".to_vec(),
            400,
            "InvalidArgumentException",
        ),
    ];
    for (body, status, name) in cases {
        assert_eq!(
            exception(&at, &[LIST], body).await,
            (status, name.to_owned())
        );
    }
    assert_eq!(
        exception(&at, &[LIST], Vec::new()).await,
        (200, String::new()),
        "no body is an empty object"
    );
    let nothing = ("x-amz-target", "GlobalAccelerator_V20180706.MakeTea");
    for headers in [
        vec![],
        vec![nothing],
        vec![("x-amz-target", "ListAccelerators")],
    ] {
        let refused = exception(&at, &headers, b"{}".to_vec()).await;
        assert_eq!(refused, (404, "UnknownOperationException".to_owned()));
    }
    let browser = [LIST, ("origin", "https://example.com")];
    assert_eq!(
        exception(&at, &browser, b"{}".to_vec()).await,
        (400, "AccessDeniedException".to_owned())
    );
}

#[tokio::test]
async fn ten_megabytes_are_refused_before_they_are_read_and_memory_stays_flat() {
    let at = Place::fresh();
    let mut edge = at.edge("").ready().await;
    let refused = exception(&at, &[LIST], vec![b'['; 1 << 20]).await;
    assert_eq!(
        refused,
        (400, "SerializationException".to_owned()),
        "a megabyte is read"
    );
    let before = edge.process().anonymous_memory();
    for _ in 0..30 {
        let mut stream = tokio::net::TcpStream::connect(at.listen)
            .await
            .expect("it accepts");
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: 10485760\r\nx-amz-target: x\r\n\r\n",
            at.listen
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        // Whether it takes any of it is its affair.
        let _ = stream.write_all(&vec![b'x'; 256 * 1024]).await;
        let mut answer = vec![0; 12];
        patiently("an answer", stream.read_exact(&mut answer))
            .await
            .expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413");
    }
    let unannounced = format!(
        "POST / HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        at.listen
    );
    let mut stream = tokio::net::TcpStream::connect(at.listen)
        .await
        .expect("it accepts");
    stream
        .write_all(unannounced.as_bytes())
        .await
        .expect("written");
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..160 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    for _ in 0..20 {
        let wide = format!("{{\"Tags\":[{}{{}}]}}", "{\"Key\":\"a\"},".repeat(80_000));
        let create = (
            "x-amz-target",
            "GlobalAccelerator_V20180706.CreateAccelerator",
        );
        let refused = exception(&at, &[create], wide.into_bytes()).await;
        assert_eq!(refused, (400, "SerializationException".to_owned()));
    }
    let grown = edge.process().anonymous_memory().saturating_sub(before);
    assert!(grown < 32 << 20, "grew by {grown} bytes");
}

#[tokio::test]
async fn slow_and_broken_heads_leave_the_api_answering() {
    let at = Place::fresh();
    let _edge = at.edge("").ready().await;
    let mut held = Vec::new();
    for number in 0..40u8 {
        let mut stream = tokio::net::TcpStream::connect(at.listen)
            .await
            .expect("it accepts");
        let garbage: Vec<u8> = (0..200)
            .map(|i: u8| i.wrapping_mul(31).wrapping_add(number))
            .collect();
        let _ = stream
            .write_all(if number % 2 == 0 {
                b"POST / HT"
            } else {
                &garbage
            })
            .await;
        held.push(stream);
    }
    // Well before a head's time is over, which is half a minute: nobody waits for those.
    let soon = Duration::from_secs(15);
    let answered = tokio::time::timeout(soon, at.call("ListAccelerators", &json!({}))).await;
    assert_eq!(answered.expect("in time").0, 200);
}

#[tokio::test]
async fn a_client_that_asks_too_fast_is_told_to_slow_down() {
    let at = Place::fresh();
    let _edge = at.edge("").ready().await;
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\nx-amz-target: x\r\n\r\n",
        at.listen
    );
    let mut stream = tokio::net::TcpStream::connect(at.listen)
        .await
        .expect("it accepts");
    let mut answers = String::new();
    let mut buffer = vec![0; 64 * 1024];
    let began = std::time::Instant::now();
    while !answers.contains("ThrottlingException") && began.elapsed() < PATIENCE {
        stream
            .write_all(request.repeat(200).as_bytes())
            .await
            .expect("written");
        answers.clear();
        // Counted over all that has come: an answer may come in two pieces.
        while answers.matches("HTTP/1.1 ").count() < 200 {
            let read = patiently("answers", stream.read(&mut buffer))
                .await
                .expect("answers");
            assert!(read > 0, "the connection stays");
            answers += &String::from_utf8_lossy(&buffer[..read]);
        }
    }
    assert!(answers.contains("Rate exceeded"), "{answers}");
}

#[tokio::test]
async fn the_store_is_exported_and_imported_by_the_running_process() {
    let at = Place::fresh();
    let edge = at.edge("").ready().await;
    let (accelerator, _, _) = at.accelerator("kept", 18080).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("export.json").display().to_string();
    let exported = edge.command(&["store", "export", "--output", &file]).await;
    assert!(exported.status.success(), "{exported:?}");
    at.ok(
        "UpdateAccelerator",
        json!({ "AcceleratorArn": accelerator, "Name": "renamed" }),
    )
    .await;
    let refused = edge.command(&["store", "import", &file]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let imported = edge.command(&["store", "import", &file, "--replace"]).await;
    assert!(imported.status.success(), "{imported:?}");
    let shown = at
        .ok(
            "DescribeAccelerator",
            json!({ "AcceleratorArn": accelerator }),
        )
        .await;
    assert_eq!(text(&shown["Accelerator"]["Name"]), "kept");
}

#[tokio::test]
async fn who_sends_slowly_or_keeps_connections_holds_nobody_else_up() {
    let at = Place::fresh();
    let _edge = at.edge("").ready().await;
    // Heads that announce a body which does not come, more of them than requests are worked on at once.
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: 100\r\nx-amz-target: x\r\n\r\n{{",
        at.listen
    );
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = tokio::net::TcpStream::connect(at.listen)
            .await
            .expect("it accepts");
        stream.write_all(head.as_bytes()).await.expect("written");
        slow.push(stream);
    }
    let (status, _) = patiently("an answer", at.call("ListAccelerators", &json!({}))).await;
    assert_eq!(status, 200);
    for stream in &slow {
        let early = stream.try_read(&mut [0; 16]);
        let waits = early.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(waits, "others were answered before their time was over");
    }
    // One client takes all that it can; what is beyond its share is hung up on, and another client is answered.
    let greedy = place::client();
    let mut held = Vec::new();
    for _ in 0..200 {
        if let Ok(stream) = client::connect_from(greedy, at.listen).await {
            held.push(stream);
        }
    }
    let hung_up = eventually("it is hung up on", PATIENCE, async || {
        let ended = held.iter().filter(|stream| {
            matches!(stream.try_read(&mut [0; 1]), Ok(0))
                || stream
                    .try_read(&mut [0; 1])
                    .is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        });
        Some(ended.count()).filter(|count| *count >= 100)
    })
    .await;
    println!(
        "{hung_up} of {} connections of one client were hung up on",
        held.len()
    );
    let (status, _) = patiently("an answer", at.call("ListAccelerators", &json!({}))).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn random_bytes_and_wrong_signatures_are_told_so_and_memory_stays_flat() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).expect("written");
    let at = Place::fresh();
    let credentials = format!(
        "credentials = [{{ access_key_id = \"AKIDEXAMPLE\", secret_access_key_file = \"{}\" }}]\n",
        secret.display()
    );
    let mut edge = at.edge(&credentials).ready().await;
    let scope = |key: &str, signature: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={key}/20260101/us-west-2/globalaccelerator/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-target, Signature={signature}"
        )
    };
    let nothing = "0".repeat(64);
    let cases = [
        (None, "MissingAuthenticationTokenException", 403),
        (
            Some("Basic Zm9vOmJhcg==".to_owned()),
            "IncompleteSignatureException",
            400,
        ),
        (
            Some(scope("AKIDSOMEBODY", &nothing)),
            "UnrecognizedClientException",
            403,
        ),
        (
            Some(scope("AKIDEXAMPLE", &nothing)),
            "InvalidSignatureException",
            403,
        ),
        (
            Some(scope("AKIDEXAMPLE", "no hexadecimal digits")),
            "InvalidSignatureException",
            403,
        ),
    ];
    let round = async |seed: u8| {
        let garbage: Vec<u8> = (0..60_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed)
            .collect();
        for (authorization, name, status) in &cases {
            let mut headers = vec![LIST, ("x-amz-date", "20260101T000000Z")];
            headers.extend(authorization.as_deref().map(|text| ("authorization", text)));
            let refused = exception(&at, &headers, garbage.clone()).await;
            assert_eq!(refused, (*status, (*name).to_owned()), "{authorization:?}");
        }
    };
    for seed in 0..20 {
        round(seed).await;
    }
    let before = edge.process().anonymous_memory();
    for seed in 0..100 {
        round(seed).await;
    }
    let grown = edge.process().anonymous_memory().saturating_sub(before);
    println!("500 wrong signatures over 60,000 random bytes: {grown} bytes more");
    assert!(grown < 8 << 20, "grew by {grown} bytes");
}

#[tokio::test]
async fn every_change_is_one_line_of_the_audit_and_nothing_else_is() {
    let at = Place::fresh();
    let edge = at.edge("").ready().await;
    let (accelerator, listener, _) = at.accelerator("audited", 18081).await;
    let group = at.group(&listener, "r", &[]).await;
    let update = json!({ "EndpointGroupArn": group, "TrafficDialPercentage": 10 });
    at.ok("UpdateEndpointGroup", update).await;
    let tag = json!({ "ResourceArn": accelerator, "Tags": [{ "Key": "a", "Value": "b" }] });
    at.ok("TagResource", tag).await;
    at.ok("DeleteEndpointGroup", json!({ "EndpointGroupArn": group }))
        .await;
    // Reading, a repeated create and a refused one change nothing.
    at.ok("ListAccelerators", json!({})).await;
    let create = json!({ "Name": "audited", "IdempotencyToken": "audited" });
    at.ok("CreateAccelerator", create).await;
    let wrong = json!({ "Name": "-", "IdempotencyToken": "t" });
    assert_eq!(at.call("CreateAccelerator", &wrong).await.0, 400);
    at.ok("DeleteListener", json!({ "ListenerArn": listener }))
        .await;
    let told = [
        ("CreateAccelerator", &accelerator),
        ("CreateListener", &listener),
        ("CreateEndpointGroup", &group),
        ("UpdateEndpointGroup", &group),
        ("TagResource", &accelerator),
        ("DeleteEndpointGroup", &group),
        ("DeleteListener", &listener),
    ];
    let lines = eventually("the last one is told", PATIENCE, async || {
        let log = edge.log();
        let lines: Vec<String> = log
            .lines()
            .filter(|line| line.contains("changed by the API"))
            .map(str::to_owned)
            .collect();
        lines
            .last()
            .is_some_and(|line| line.contains("DeleteListener"))
            .then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), told.len(), "{lines:#?}");
    for (line, (operation, resource)) in lines.iter().zip(told) {
        let ends = format!("{resource}\"");
        assert!(
            line.contains(operation)
                && line.contains(&ends)
                && line.contains("anonymous")
                && line.contains("request_id"),
            "{operation} {resource}: {line}"
        );
    }
}
