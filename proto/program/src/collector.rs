//! How a program tells its numbers to collectors: text over HTTP, to whoever can reach the address, and so with a bound
//! on everything that a stranger may use of it.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections at the same time: a collector or two, and somebody who looks.
const CONNECTIONS_MAX: usize = 16;
/// Largest request line with its headers, bytes: a collector's has some hundred; the HTTP library takes no lower bound.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// How long a connection may last, from its first byte to the last: a collector's whole request takes milliseconds.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// Pause after the system gave no connection, as it does when no descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);
/// Of the text format (OpenMetrics 1.0).
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers `GET /metrics` until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Listens at `address` and answers with what `numbers` returns, in the OpenMetrics text format.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn start(
        address: SocketAddr,
        numbers: impl Fn() -> String + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::bounded(address, Arc::new(numbers), CONNECTIONS_MAX, CONNECTION_MAX).await
    }

    async fn bounded(
        address: SocketAddr,
        numbers: Numbers,
        connections_max: usize,
        connection_max: Duration,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, numbers, connections_max, connection_max));
        Ok(Self { address, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the operator should know of the address, if other machines reach it.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let ip = self.address.ip();
        if ip.to_canonical().is_loopback() {
            return None;
        }
        let at = if ip.is_unspecified() { "all addresses of this machine" } else { "an address" };
        Some(format!(
            "--metrics listens at {at} ({}) that others may reach, and answers everybody: give 127.0.0.1:{} unless the network is one that you trust",
            self.address,
            self.address.port()
        ))
    }
}

type Numbers = Arc<dyn Fn() -> String + Send + Sync>;

async fn accept(
    listener: TcpListener,
    numbers: Numbers,
    connections_max: usize,
    connection_max: Duration,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        // Who comes when all places are taken waits in the system's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let numbers = Arc::clone(&numbers);
        connections.spawn(async move {
            // What a collector that is too slow, or no collector, had to say is of no use.
            let _ = timeout(connection_max, serve(stream, numbers)).await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, numbers: Numbers) -> Result<(), hyper::Error> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &numbers);
        async move { Ok::<_, Infallible>(answer) }
    });
    hyper::server::conn::http1::Builder::new()
        // The whole connection is timed, headers included.
        .header_read_timeout(None)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

fn answer(request: &Request<Incoming>, numbers: &Numbers) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics" | "/") => (StatusCode::OK, numbers()),
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, "the numbers are at /metrics\n".to_owned())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n".to_owned()),
    };
    let format = if status == StatusCode::OK { FORMAT } else { "text/plain; charset=utf-8" };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(format));
    response
}

#[cfg(test)]
mod tests;
