//! A service on loopback that a test makes up: a world that the test may look at and change, and answers out of it. AWS and Route 53 are
//! such ones; what they say is their own.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::place;

/// A running service; it ends with its owner.
pub(crate) struct Fake<W> {
    at: SocketAddr,
    world: Arc<Mutex<W>>,
    serving: JoinHandle<()>,
}

impl<W: Send + 'static> Fake<W> {
    /// Starts one. An error instead of an answer ends the connection.
    ///
    /// # Panics
    /// When its address cannot be had.
    pub(crate) async fn start<F>(
        world: W,
        answer: fn(Request<Incoming>, Arc<Mutex<W>>) -> F,
    ) -> Self
    where
        F: Future<Output = io::Result<Response<Full<Bytes>>>> + Send + 'static,
    {
        let at = place::fresh();
        let listener = TcpListener::bind(at)
            .await
            .expect("a fresh address is free");
        let world = Arc::new(Mutex::new(world));
        let serving = tokio::spawn(serve(listener, Arc::clone(&world), answer));
        Self { at, world, serving }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// What there is, to look at and to change.
    pub(crate) fn world(&self) -> MutexGuard<'_, W> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it off the network.
    pub(crate) fn vanish(&self) {
        self.serving.abort();
    }
}

impl<W> Drop for Fake<W> {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve<W, F>(
    listener: TcpListener,
    world: Arc<Mutex<W>>,
    answer: fn(Request<Incoming>, Arc<Mutex<W>>) -> F,
) where
    W: Send + 'static,
    F: Future<Output = io::Result<Response<Full<Bytes>>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let world = Arc::clone(&world);
        connections.spawn(async move {
            let answer = service_fn(move |request| answer(request, Arc::clone(&world)));
            // What ends a connection early is the client's affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// Names and values of a query or a form, in their order.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value)))
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                out.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
