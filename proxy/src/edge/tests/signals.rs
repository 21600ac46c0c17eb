//! What live flows tell of their endpoints.

use std::sync::atomic::Ordering;

use portolan_config::clock;
use socket2::{SockFilter, SockRef};

use super::*;

/// From here on the kernel drops every segment for this socket, unanswered.
fn deafen(socket: &TcpStream) {
    let drop_all = [SockFilter::new(0x06, 0, 0, 0)];
    SockRef::from(socket).attach_filter(&drop_all).unwrap();
}

impl World {
    fn signals(&self, kind: SignalKind) -> usize {
        let signals = self.seen.signals.lock().unwrap();
        signals.iter().filter(|s| s.kind == kind).count()
    }

    fn last_heard(&self) -> u64 {
        let live = &self.listener.groups[0].endpoints[0].addresses[0].live;
        live.last_heard.load(Ordering::Relaxed)
    }
}

#[test]
fn data_that_stands_unacknowledged_is_a_signal_and_data_that_is_acknowledged_is_none() {
    let (deaf, deaf_address) = listener();
    let (thinker, thinker_address) = listener();
    let silent = world(ListenerSettings::default(), &[&[deaf_address]]);
    let thoughtful = world(ListenerSettings::default(), &[&[thinker_address]]);
    let (mut client, mut socket) = begun(&silent, &deaf);
    // Asked before the other one, answered never, acknowledged at once.
    let (mut waiting, _thinking) = begun(&thoughtful, &thinker);
    waiting.write_all(b"why?").unwrap();

    deafen(&socket);
    client.write_all(b"anybody?").unwrap();
    wait_for("three signals", || {
        (silent.signals(SignalKind::Unacknowledged) >= 3).then_some(())
    });
    assert_eq!(thoughtful.signals(SignalKind::Unacknowledged), 0);

    // The flow itself goes on when the path does.
    SockRef::from(&socket).detach_filter().unwrap();
    let mut heard = [0; 8];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"anybody?");
}

#[test]
fn an_acknowledgement_is_a_sign_of_life() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let (mut client, mut socket) = begun(&world, &endpoint);
    // It takes all and never answers: from it come acknowledgements alone.
    let taking = std::thread::spawn(move || while socket.read(&mut [0; 4096]).unwrap_or(0) > 0 {});
    let later = clock::millis(Instant::now()) + 200;
    let chunk = [7; 512];
    wait_for("a sign of life", || {
        client.write_all(&chunk).unwrap();
        (world.last_heard() > later).then_some(())
    });
    assert_eq!(world.signals(SignalKind::Unacknowledged), 0);
    drop(client);
    taking.join().unwrap();
}

#[test]
fn flows_that_their_endpoint_ends_together_are_a_signal_and_one_is_none() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let mut flows: Vec<_> = (0..13).map(|_| begun(&world, &endpoint)).collect();
    let (mut client, socket) = flows.pop().unwrap();
    drop(socket);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(world.signals(SignalKind::EndedTogether), 0);

    let (clients, sockets): (Vec<_>, Vec<_>) = flows.into_iter().unzip();
    drop(sockets);
    wait_for("a signal", || {
        (world.signals(SignalKind::EndedTogether) > 0).then_some(())
    });
    drop(clients);
}

#[test]
fn endpoints_that_end_what_they_have_answered_raise_nothing() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let flows: Vec<_> = (0..12).map(|_| begun(&world, &endpoint)).collect();
    let (mut clients, sockets): (Vec<_>, Vec<_>) = flows.into_iter().unzip();
    for client in &clients {
        client.shutdown(Shutdown::Write).unwrap();
    }
    for mut socket in sockets {
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        socket.write_all(b"y").unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 1);
    }
    world.record(EndCause::ClientFin);
    assert_eq!(world.signals(SignalKind::EndedTogether), 0);
}

#[test]
fn an_end_that_comes_with_an_answer_is_no_signal_whatever_receives_it() {
    for io_engine in [IoEngine::Epoll, IoEngine::IoUring] {
        if io_engine == IoEngine::IoUring
            && let Err(error) = crate::can_use_io_uring()
        {
            return eprintln!("skipped: no io_uring here: {error}");
        }
        let (endpoint, address) = listener();
        let world = world_by(io_engine, ListenerSettings::default(), &[&[address]]);
        let flows: Vec<_> = (0..12).map(|_| begun(&world, &endpoint)).collect();
        let (clients, sockets): (Vec<_>, Vec<_>) = flows.into_iter().unzip();
        for socket in sockets {
            // One segment holds both.
            let more = SockRef::from(&socket).send_with_flags(b"y", libc::MSG_MORE);
            assert_eq!(more.unwrap(), 1);
        }
        for mut client in clients {
            assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 1);
        }
        wait_for("all to be over", || {
            (world.edge.active_flows() == 0).then_some(())
        });
        assert_eq!(world.signals(SignalKind::EndedTogether), 0, "{io_engine:?}");
    }
}
