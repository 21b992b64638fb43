//! The operator's service.

use crate::SOFTWARE;
use crate::core::token::{Role, TokenId};
use crate::grpc::egress::GIVEN_MAX;
use crate::grpc::refusal::{Refusal, blocking};
use crate::grpc::{Services, convert};
use proto::{WorkerKey, pb};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Workers in one reply.
const WORKERS_MAX: usize = 1024;
/// Tokens that a project may have: each is a person or a program of one.
const TOKENS_MAX: usize = 4096;

/// `starling.v1.Admin`.
pub(super) struct Admin(pub(super) Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::admin_server::Admin for Admin {
    async fn status(&self, request: Request<pb::StatusRequest>) -> Reply<pb::StatusReply> {
        self.0.access.operator(&request).await?;
        let totals = self.0.engine.totals().await.map_err(Refusal::from)?;
        let blobs = Arc::clone(&self.0.blobs);
        let blob_bytes = blocking(move || blobs.bytes()).await?;
        Ok(Response::new(pb::StatusReply {
            join: self.0.join.clone(),
            workers_connected: totals.workers_connected,
            workers_known: totals.workers_known,
            jobs_running: totals.jobs_running,
            jobs_known: totals.jobs_known,
            units_settled: totals.units_settled,
            units_leased: totals.units_leased,
            credit: convert::saturated(totals.credit),
            store_bytes: totals.store_bytes,
            blob_bytes,
            blob_bytes_given: self.0.egress.bytes(),
            uptime_ms: self.0.clock.now().monotonic_ms.saturating_sub(self.0.started_ms),
            software: SOFTWARE.into(),
            referees: totals.referees,
            crowd_checks: totals.crowd_checks,
            trouble: totals.trouble,
            compile_walls: self.0.compiler.walls().into(),
            given_most: self.0.egress.most(GIVEN_MAX).into_iter().map(convert::of_blob).collect(),
        }))
    }

    async fn issue_token(
        &self,
        request: Request<pb::IssueTokenRequest>,
    ) -> Reply<pb::IssueTokenReply> {
        use pb::issue_token_request::Role as Asked;
        self.0.access.operator(&request).await?;
        let request = request.into_inner();
        let role = match request.role() {
            Asked::Researcher => Role::Researcher,
            Asked::Operator => Role::Operator,
            Asked::Volunteer if request.accounts == 0 => {
                let text = "an invitation must let in one account at least";
                return Err(Status::invalid_argument(text));
            }
            Asked::Volunteer => Role::Volunteer { accounts: request.accounts },
            Asked::Unspecified => {
                let text = "role must be researcher, operator or volunteer";
                return Err(Status::invalid_argument(text));
            }
        };
        if TOKENS_MAX <= self.0.engine.tokens().await.map_err(Refusal::from)?.len() {
            let text =
                format!("there are {TOKENS_MAX} tokens, as many as may be: revoke one first");
            return Err(Status::resource_exhausted(text));
        }
        let (token, id) = self.0.access.issue(&request.account, role).await?;
        Ok(Response::new(pb::IssueTokenReply { token, token_id: id.0 }))
    }

    async fn revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Reply<pb::RevokeTokenReply> {
        self.0.access.operator(&request).await?;
        let id = request.into_inner().token_id;
        match self.0.access.revoke(TokenId(id.clone())).await? {
            true => Ok(Response::new(pb::RevokeTokenReply {})),
            false => {
                Err(Status::not_found(format!("there is no token {id:?}: `token list` shows them")))
            }
        }
    }

    async fn tokens(&self, request: Request<pb::TokensRequest>) -> Reply<pb::TokensReply> {
        self.0.access.operator(&request).await?;
        let tokens = self.0.engine.tokens().await.map_err(Refusal::from)?;
        Ok(Response::new(pb::TokensReply {
            tokens: tokens.into_iter().map(convert::token).collect(),
        }))
    }

    async fn workers(&self, request: Request<pb::WorkersRequest>) -> Reply<pb::WorkersReply> {
        self.0.access.operator(&request).await?;
        let pb::WorkersRequest { after_worker_key, count_max } = request.into_inner();
        let after = match after_worker_key.as_ref() {
            [] => None,
            key => Some(
                WorkerKey::try_from(key)
                    .map_err(|_| Status::invalid_argument("a worker's key has 32 bytes"))?,
            ),
        };
        let max = usize::try_from(count_max).unwrap_or(WORKERS_MAX).clamp(1, WORKERS_MAX);
        let workers = self.0.engine.workers(after, max).await.map_err(Refusal::from)?;
        Ok(Response::new(pb::WorkersReply {
            workers: workers.into_iter().map(convert::worker).collect(),
        }))
    }

    async fn appoint(&self, request: Request<pb::AppointRequest>) -> Reply<pb::AppointReply> {
        self.0.access.operator(&request).await?;
        let pb::AppointRequest { worker_key, appointed } = request.into_inner();
        let worker = WorkerKey::try_from(worker_key.as_ref())
            .map_err(|_| Status::invalid_argument("a worker's key has 32 bytes"))?;
        match self.0.engine.appoint(worker, appointed).await.map_err(Refusal::from)? {
            true => Ok(Response::new(pb::AppointReply {})),
            false => Err(Status::not_found(format!(
                "worker {worker} is not known: let it connect once, then appoint it"
            ))),
        }
    }

    async fn backup(&self, request: Request<pb::BackupRequest>) -> Reply<pb::BackupReply> {
        self.0.access.operator(&request).await?;
        let (name, shared) = (request.into_inner().name, Arc::clone(&self.0));
        let made =
            blocking(move || shared.backups.make(&shared.data, &name, &shared.blobs)).await?;
        Ok(Response::new(pb::BackupReply {
            path: made.path.display().to_string(),
            bytes: made.bytes,
        }))
    }
}
