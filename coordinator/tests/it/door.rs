//! Who gets in: TLS to the pinned authority, and nothing else.

use super::support::{Project, Worker};
use anyhow::Result;
use client::tls;
use proto::{Digest, pb};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::Endpoint;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

#[tokio::test]
async fn another_fingerprint_is_refused() -> Result<()> {
    let project = Project::start().await?;
    let mut join = project.coordinator.join().clone();
    assert!(tls::connect(&join).await.is_ok());
    join.ca = Digest([7; 32]);
    assert!(tls::connect(&join).await.is_err());
    Ok(())
}

#[tokio::test]
async fn plain_text_is_refused() -> Result<()> {
    let project = Project::start().await?;
    let endpoint = Endpoint::from_shared(format!("http://{}", project.coordinator.local_addr()))?;
    if let Ok(channel) = endpoint.connect().await {
        let status = pb::admin_client::AdminClient::new(channel)
            .status(project.operator(pb::StatusRequest {}))
            .await;
        assert!(status.is_err());
    }
    Ok(())
}

#[tokio::test]
async fn garbage_closes_its_connection_and_no_other() -> Result<()> {
    let project = Project::start().await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 4096],
        &[0xff; 100_000],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ] {
        let mut stream = TcpStream::connect(project.coordinator.local_addr()).await?;
        // The other side may have closed already.
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 100, "no more than an alert");
    }
    let (_, spec) = project.job(3, 1).await?;
    assert_eq!(worker.work(&spec, 3).await?, 3);
    Ok(())
}

/// More silent connections than there are places, from one network, which are not closed here.
async fn silent_crowd(project: &Project, count: usize) -> Result<Vec<TcpStream>> {
    let mut crowd = Vec::new();
    for host in 0..count {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 9, 9, u8::try_from(1 + host % 250)?], 0)))?;
        crowd.push(socket.connect(project.coordinator.local_addr()).await?);
    }
    Ok(crowd)
}

#[tokio::test]
async fn a_silent_crowd_shuts_nobody_out() -> Result<()> {
    let project = Project::start_with(|config| config.connections_max = 40).await?;
    let crowd = silent_crowd(&project, 700).await?;
    let (_, spec) = project.job(3, 1).await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let more = silent_crowd(&project, 100).await?;
    assert_eq!(worker.work(&spec, 3).await?, 3, "whoever is known stays");
    drop((crowd, more));
    Ok(())
}

#[tokio::test]
async fn strangers_that_only_keep_a_connection_give_way() -> Result<()> {
    let project = Project::start_with(|config| config.connections_max = 12).await?;
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let channel = project.channel().await?;
        HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await?;
        strangers.push(channel);
    }
    let (_, spec) = project.job(3, 1).await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    assert_eq!(worker.work(&spec, 3).await?, 3);
    Ok(())
}

#[tokio::test]
async fn health_and_reflection_answer() -> Result<()> {
    let project = Project::start().await?;
    let channel = project.channel().await?;
    for service in
        ["", "starling.v1.Grid", "starling.v1.Jobs", "starling.v1.Blobs", "starling.v1.Admin"]
    {
        let request = HealthCheckRequest { service: service.into() };
        let reply = HealthClient::new(channel.clone()).check(request).await?.into_inner();
        assert_eq!(reply.status(), ServingStatus::Serving, "{service}");
    }
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            ),
        ),
    };
    let mut client =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let mut replies =
        client.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
    let reply = format!("{:?}", replies.message().await?);
    assert!(reply.contains("starling.v1.Grid"), "{reply}");
    Ok(())
}
