//! Collectors are answered; others get no more than their share.

use super::*;
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

async fn start() -> Server {
    Server::start(([127, 0, 0, 1], 0).into(), || "numbers 1\n".to_owned()).await.unwrap()
}

async fn ask(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_collector_gets_the_numbers() {
    let server = start().await;
    let text = ask(&server, GET).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("application/openmetrics-text") && text.ends_with("\r\nnumbers 1\n"));
    let text = ask(&server, b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
    let text =
        ask(&server, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 405"), "{text}");
}

#[tokio::test]
async fn long_headers_are_refused() {
    let server = start().await;
    let mut request = b"GET /metrics HTTP/1.1\r\nx: ".to_vec();
    request.resize(2 << 20, b'a');
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    // It may close before all is written.
    let _ = stream.write_all(&request).await;
    let mut text = Vec::new();
    match stream.read_to_end(&mut text).await {
        Ok(_) => assert!(!String::from_utf8_lossy(&text).contains("200 OK")),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[tokio::test]
async fn half_requests_are_few_and_end() {
    let numbers: Numbers = Arc::new(|| "numbers 1\n".to_owned());
    let address = ([127, 0, 0, 1], 0).into();
    let server = Server::bounded(address, numbers, 4, Duration::from_secs(2)).await.unwrap();
    let mut half = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET /metrics").await.unwrap();
        half.push(stream);
    }
    // The honest one waits for a place and is served as soon as there is one.
    assert!(ask(&server, GET).await.ends_with("numbers 1\n"));
    for mut stream in half {
        let mut text = Vec::new();
        // Closed, whether with a reset or not.
        let _ = stream.read_to_end(&mut text).await;
        assert!(text.is_empty());
    }
}

#[tokio::test]
async fn an_address_that_others_reach_is_warned_of() {
    assert_eq!(start().await.warning(), None);
    let all = Server::start(([0, 0, 0, 0], 0).into(), String::new).await.unwrap();
    assert!(all.warning().unwrap().contains("all addresses of this machine"));
}
