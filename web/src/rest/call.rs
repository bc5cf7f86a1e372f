//! One call through the browser's `fetch`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::ids::UserId;
use shared::wire::rest::USER_HEADER;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, Request, RequestInit, Response};

use crate::rest::{RestError, browser, refusal};
use crate::{address, json};

/// A call that is being made up.
#[derive(Debug)]
pub(super) struct Call {
    path: String,
    init: RequestInit,
    headers: Vec<(&'static str, String)>,
}

impl Call {
    /// Returns the call of `method` on `path`, by `user`.
    pub(super) fn new(method: &str, path: &str, user: &UserId) -> Self {
        let init = RequestInit::new();
        init.set_method(method);
        Self { path: path.to_owned(), init, headers: vec![(USER_HEADER, user.to_string())] }
    }

    /// Returns it with one more header.
    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns it with `body` as JSON.
    pub(super) fn with_json(self, body: &impl Serialize) -> Self {
        // What is sent from here are structs of texts and numbers.
        self.init.set_body(&JsValue::from_str(&serde_json::to_string(body).unwrap_or_default()));
        self.with("content-type", "application/json".to_owned())
    }

    /// Makes the call; returns the answer when it is no error.
    pub(super) async fn send(self) -> Result<Response, RestError> {
        let request = self.request().map_err(|error| browser(&error))?;
        let window = web_sys::window().ok_or_else(|| RestError::Browser("no window".to_owned()))?;
        let answer: Response =
            JsFuture::from(window.fetch_with_request(&request)).await.map_err(unreachable_server)?.unchecked_into();
        if answer.ok() {
            return Ok(answer);
        }
        let status = answer.status();
        Err(refusal(status, &text(&answer).await.unwrap_or_default()))
    }

    fn request(&self) -> Result<Request, JsValue> {
        let headers = Headers::new()?;
        for (name, value) in &self.headers {
            headers.set(name, value)?;
        }
        self.init.set_headers(&headers);
        Request::new_with_str_and_init(&format!("{}{}", address::api(), self.path), &self.init)
    }
}

/// Returns what an answer says.
pub(super) async fn decode<T: DeserializeOwned>(answer: &Response) -> Result<T, RestError> {
    let text = text(answer).await?;
    json::read(&text).map_err(|error| RestError::Answer(error.to_string()))
}

async fn text(answer: &Response) -> Result<String, RestError> {
    let text = answer.text().map_err(unreachable_server)?;
    Ok(JsFuture::from(text).await.map_err(unreachable_server)?.as_string().unwrap_or_default())
}

fn unreachable_server(_why: JsValue) -> RestError {
    RestError::Unreachable // the browser doesn't tell pages why
}
