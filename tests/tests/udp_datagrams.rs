//! What becomes of datagrams on their way through the edge: those that leave together, and the congestion marks of each.

use std::net::SocketAddr;

use portolan_tests::datagram::{Answer, Client, Endpoint};
use portolan_tests::edge::Edge;
use portolan_tests::toml::{datagrams, unasked};
use portolan_tests::{payload, place};

#[tokio::test]
async fn datagrams_that_leave_together_stay_what_they_were() {
    // Of one size, of many, with a shorter one behind, empty ones, ones too long to be joined.
    let sizes = [
        [1200; 6].as_slice(),
        &[
            300, 1200, 1200, 0, 0, 64, 64, 65, 1472, 1472, 1473, 9000, 9000, 1,
        ],
    ]
    .concat();
    for (line, header) in [("", 0), ("proxy_protocol = \"v2\"", 28 + 11)] {
        let endpoint = Endpoint::start("a", Answer::Echo).await;
        let at = place::fresh();
        let groups = [unasked([&endpoint]).with(line)];
        let edge = Edge::start(&datagrams(at, "", &groups)).await;
        let client = Client::to(at).await;
        client.ask(b"a flow").await;
        endpoint.seen();
        let datagram = |index: usize| payload::stretch(index as u64, 0, sizes[index]);
        edge.in_one_go(async || {
            for index in 0..sizes.len() {
                client.say(datagram(index)).await.expect("it can be sent");
            }
        })
        .await;
        for index in 0..sizes.len() {
            assert!(client.hear().await[header..] == *datagram(index), "{index}");
        }
        let seen = endpoint.seen();
        assert_eq!(seen.len(), sizes.len());
        for (index, (_, seen)) in seen.iter().enumerate() {
            assert!(seen[header..] == *datagram(index), "{index}");
        }
    }
}

#[tokio::test]
async fn the_congestion_mark_of_each_datagram_passes_both_ways() {
    for (at, to) in [
        (place::fresh(), place::fresh()),
        (place::fresh_v6(), place::fresh_v6()),
        (place::fresh(), place::fresh_v6()),
    ] {
        let group = unasked([]).named("a", to, "");
        let endpoint = marked::Port::bound(to);
        let _edge = Edge::start(&datagrams(at, "", &[group])).await;
        let client = marked::Port::bound(SocketAddr::new(at.ip(), 0));
        for mark in [1, 2, 3, 0, 3] {
            client.send(at, b"there", mark);
            let (edge, there) = endpoint.receive();
            endpoint.send(edge, b"back", mark);
            let (from, back) = client.receive();
            assert_eq!((from, there, back), (at, mark, mark), "{at} {to}");
        }
    }
}

/// Sockets that send and receive congestion marks.
mod marked {
    use std::io::IoSliceMut;
    use std::net::{SocketAddr, UdpSocket};

    use portolan_tests::deadline::PATIENCE;
    use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

    pub(super) struct Port {
        socket: UdpSocket,
        state: UdpSocketState,
    }

    impl Port {
        pub(super) fn bound(at: SocketAddr) -> Port {
            let socket = UdpSocket::bind(at).expect("a free port");
            let state = UdpSocketState::new((&socket).into()).expect("a socket");
            // The state makes it one that never waits.
            socket.set_nonblocking(false).expect("a socket");
            socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
            Port { socket, state }
        }

        pub(super) fn send(&self, to: SocketAddr, contents: &[u8], mark: u8) {
            let transmit = Transmit {
                destination: to,
                ecn: EcnCodepoint::from_bits(mark),
                contents,
                segment_size: None,
                src_ip: None,
            };
            let sent = self.state.try_send((&self.socket).into(), &transmit);
            sent.expect("it can be sent");
        }

        pub(super) fn receive(&self) -> (SocketAddr, u8) {
            let (mut buffer, mut metas) = ([0; 2048], [RecvMeta::default()]);
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let received = self
                .state
                .recv((&self.socket).into(), &mut slices, &mut metas);
            assert_eq!(received.expect("a datagram"), 1);
            (metas[0].addr, metas[0].ecn.map_or(0, |mark| mark as u8))
        }
    }
}
