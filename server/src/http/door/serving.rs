//! Requests on their way from a connection to the router, and answers on their way back: the visitor is told of both.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::http::door::visitors::Visitor;
use crate::http::error::ApiError;

/// Where a connection's requests are handed in.
pub(super) struct Desk {
    router: TowerToHyperService<Router>,
    visitor: Arc<Visitor>,
}

impl Desk {
    /// Serves a visitor with `router`.
    pub(super) fn new(router: Router, visitor: Arc<Visitor>) -> Self {
        Self { router: TowerToHyperService::new(router), visitor }
    }
}

impl Service<Request<Incoming>> for Desk {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut served = Served::new(Arc::clone(&self.visitor));
        if self.visitor.is_in_the_lobby() && !is_about_health(request.uri().path()) {
            let crowded = ApiError::Crowded.into_response().map(|body| Answer { body, _served: served });
            return Box::pin(async { Ok(crowded) });
        }
        let answer = self.router.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            // From now on the connection speaks something else, and whoever does so cares for it.
            served.ends = answer.status() != StatusCode::SWITCHING_PROTOCOLS;
            Ok(answer.map(|body| Answer { body, _served: served }))
        })
    }
}

/// Under whatever path the server is reached.
fn is_about_health(path: &str) -> bool {
    path.ends_with("/health") || path.ends_with("/ready")
}

/// A request from its coming until the last of its answer was handed over.
struct Served {
    visitor: Arc<Visitor>,
    ends: bool,
}

impl Served {
    fn new(visitor: Arc<Visitor>) -> Self {
        visitor.on_request();
        Self { visitor, ends: true }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.ends {
            self.visitor.on_answered();
        }
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    _served: Served,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
