//! Asking a name server on loopback that says what the test wants.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record};
use tokio::net::UdpSocket;

use super::*;

/// IPv4 addresses and TTL by name. A name that is not there does not exist; one with no addresses has none; `silent.test` gets
/// no answer.
pub(crate) type Zone = Arc<Mutex<HashMap<String, (Vec<Ipv4Addr>, u32)>>>;

pub(crate) async fn name_server(zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer).await {
            let Ok(request) = Message::from_vec(&buffer[..bytes]) else {
                continue;
            };
            if let Some(answer) = answer(&request, &zone) {
                let bytes = answer.to_vec().expect("it encodes");
                socket.send_to(&bytes, from).await.expect("sent");
            }
        }
    });
    address
}

fn answer(request: &Message, zone: &Zone) -> Option<Message> {
    let query = request.queries.first()?.clone();
    let name = query
        .name()
        .to_string()
        .trim_end_matches('.')
        .to_lowercase();
    if name == "silent.test" {
        return None;
    }
    let mut answer = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    match zone.lock().expect("not poisoned").get(&name) {
        Some((addresses, ttl)) if query.query_type() == RecordType::A => {
            for ip in addresses {
                answer.add_answer(Record::from_rdata(
                    query.name().clone(),
                    *ttl,
                    RData::A((*ip).into()),
                ));
            }
        }
        Some(_) => {}
        None => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer.add_query(query);
    Some(answer)
}

fn ips(list: &[[u8; 4]]) -> Vec<IpAddr> {
    list.iter().map(|ip| IpAddr::from(*ip)).collect()
}

async fn ask(server: SocketAddr, name: &str) -> Answer {
    let mut askers = Askers::new(&[server], Instant::now());
    askers.asker(Instant::now()).ask(name.into()).await
}

#[tokio::test]
async fn a_name_server_with_a_port_of_its_own_is_asked() {
    let zone = Zone::default();
    zone.lock().expect("not poisoned").insert(
        "web.test".to_owned(),
        (vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()], 7),
    );
    zone.lock()
        .expect("not poisoned")
        .insert("empty.test".to_owned(), (Vec::new(), 7));
    let server = name_server(zone.clone()).await;
    let Answer { v4, v6 } = ask(server, "web.test").await;
    let Family::Addresses { mut addresses, ttl } = v4 else {
        panic!("{v4:?}")
    };
    addresses.sort_unstable();
    assert_eq!(
        (addresses, ttl),
        (ips(&[[10, 0, 0, 1], [10, 0, 0, 2]]), Duration::from_secs(7))
    );
    assert!(matches!(v6, Family::None(_)), "{v6:?}");
    let Answer { v4, v6 } = ask(server, "empty.test").await;
    assert!(
        matches!((&v4, &v6), (Family::None(_), Family::None(_))),
        "{v4:?} {v6:?}"
    );
    let Answer { v4, .. } = ask(server, "nowhere.test").await;
    assert!(
        matches!(&v4, Family::None(why) if why.contains("NXDOMAIN")),
        "{v4:?}"
    );
}

#[tokio::test]
async fn nothing_is_remembered_between_two_questions() {
    let zone = Zone::default();
    let server = name_server(zone.clone()).await;
    let mut askers = Askers::new(&[server], Instant::now());
    for last in 1..=3 {
        zone.lock()
            .expect("not poisoned")
            .insert("web.test".to_owned(), (vec![[10, 0, 0, last].into()], 3600));
        let Answer { v4, .. } = askers.asker(Instant::now()).ask("web.test".into()).await;
        let Family::Addresses { addresses, .. } = v4 else {
            panic!("{v4:?}")
        };
        assert_eq!(addresses, ips(&[[10, 0, 0, last]]));
    }
}

#[tokio::test]
async fn silence_and_a_refusal_are_failures_with_a_reason() {
    let Answer { v4, v6 } = ask(name_server(Zone::default()).await, "silent.test").await;
    assert!(
        matches!((&v4, &v6), (Family::Failed(_), Family::Failed(_))),
        "{v4:?} {v6:?}"
    );
    let nobody = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("an address");
    let Answer { v4, v6 } = ask(nobody, "web.test").await;
    assert!(
        matches!((&v4, &v6), (Family::Failed(_), Family::Failed(_))),
        "{v4:?} {v6:?}"
    );
}

#[tokio::test]
async fn localhost_needs_no_name_server() {
    let nobody = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("an address");
    let Answer { v4, .. } = ask(nobody, "localhost").await;
    let Family::Addresses { addresses, .. } = v4 else {
        panic!("{v4:?}")
    };
    assert!(addresses.contains(&IpAddr::from([127, 0, 0, 1])));
}
