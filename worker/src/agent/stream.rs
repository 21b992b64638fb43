//! The stream to the coordinator as the agent's task reads it, from the connection to its end.

use super::{Input, convert};
use crate::coordinator::{Introduction, Session, Trouble, greet, printable, refused};
use proto::pb;
use proto::pb::coordinator_message::Kind;
use proto::ticket::Ticket;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Streaming;
use worker_core::agent::{Event, Welcome};

/// What a stream tells the agent's task.
#[derive(Debug)]
pub(super) enum StreamEvent {
    Attached(Session, Welcome),
    Said(Event),
    Tickets(Vec<Ticket>),
    Rebuilding(Session),
    Ended { reason: String, retry_after: Option<Duration> },
    Refused(String),
}

/// Opens stream number `number` and passes on what it says, to its end.
pub(super) async fn run(hello: Introduction, number: u64, task: mpsc::Sender<Input>) {
    let trouble = match Box::pin(greet(&hello)).await {
        Ok((session, _, mut inbound)) if session.rebuilding => {
            let _ = task.send(Input::Stream(number, StreamEvent::Rebuilding(session))).await;
            // Nothing is said until it is done, or lost.
            while let Ok(Some(_)) = inbound.message().await {}
            Trouble::Lost("the coordinator has been building its records up again".into())
        }
        Ok((session, welcome, inbound)) => {
            // The task has gone when a send fails, and its tasks go with it.
            let _ = task.send(Input::Stream(number, StreamEvent::Attached(session, welcome))).await;
            read(inbound, number, &task).await
        }
        Err(trouble) => trouble,
    };
    let news = match trouble {
        Trouble::Lost(reason) => StreamEvent::Ended { reason, retry_after: None },
        // The project asks for more than a moment ago.
        Trouble::Work(_) => StreamEvent::Ended { reason: trouble.to_string(), retry_after: None },
        Trouble::Wait(reason, wait) => StreamEvent::Ended { reason, retry_after: Some(wait) },
        Trouble::Refused(reason) => StreamEvent::Refused(reason),
    };
    let _ = task.send(Input::Stream(number, news)).await;
}

async fn read(
    mut inbound: Streaming<pb::CoordinatorMessage>,
    number: u64,
    task: &mpsc::Sender<Input>,
) -> Trouble {
    loop {
        // Silence is no fault: a dead connection is noticed below, a coordinator that owes an answer by the agent.
        let message = match inbound.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Trouble::Lost("the coordinator closed the stream".into()),
            Err(status) => {
                let reason = printable(status.message());
                return Trouble::Lost(format!("the stream broke: {reason}"));
            }
        };
        if let Some(Kind::Refusal(refusal)) = &message.kind {
            return refused(refusal);
        }
        if let Some(Kind::Leases(leases)) = &message.kind {
            let tickets = convert::tickets(leases);
            if task.send(Input::Stream(number, StreamEvent::Tickets(tickets))).await.is_err() {
                return Trouble::Lost("the program ends".into());
            }
        }
        match convert::event(message) {
            Ok(Some(event)) => {
                if task.send(Input::Stream(number, StreamEvent::Said(event))).await.is_err() {
                    return Trouble::Lost("the program ends".into());
                }
            }
            Ok(None) => {}
            Err(reason) => {
                return Trouble::Lost(format!(
                    "the coordinator said what makes no sense: {reason}"
                ));
            }
        }
    }
}
