//! What a stranger may do to the API: bodies of every kind, heads of every kind, and none of it stops it or makes it grow.

use std::time::Duration;

use portolan_tests::api::{Place, text};
use portolan_tests::deadline::{PATIENCE, patiently};
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
    let answered = tokio::time::timeout(
        Duration::from_secs(5),
        at.call("ListAccelerators", &json!({})),
    )
    .await;
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
        let mut seen = 0;
        while seen < 200 {
            let read = patiently("answers", stream.read(&mut buffer))
                .await
                .expect("answers");
            assert!(read > 0, "the connection stays");
            let part = String::from_utf8_lossy(&buffer[..read]).into_owned();
            seen += part.matches("HTTP/1.1 ").count();
            answers += &part;
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
