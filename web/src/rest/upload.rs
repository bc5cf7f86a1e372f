//! Uploads through `XMLHttpRequest`: the one browser interface that tells how much of a body has been sent.

use shared::ids::{UserId, Version};
use shared::wire::rest::{FileOut, USER_HEADER};
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{File, FormData, ProgressEvent, XmlHttpRequest};

use crate::rest::{RestError, browser, file_path, refusal};
use crate::{address, json};

/// What an upload makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A new file: the same one, however often it is tried with this key.
    New {
        /// What `Idempotency-Key` says.
        key: String,
    },
    /// The next version of a file, if `version` is the latest.
    Replace {
        /// Its id.
        id: String,
        /// The version to replace.
        version: Version,
    },
}

/// What an upload tells while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are sent.
    Sent {
        /// Bytes sent.
        sent: u64,
        /// Bytes to send.
        total: u64,
    },
    /// All are sent; the server works.
    AllSent,
    /// It is over.
    Ended(Result<Box<FileOut>, RestError>),
}

/// An upload that runs; it is cancelled when this is dropped.
#[derive(Debug)]
pub struct Running {
    xhr: XmlHttpRequest,
    _on_progress: Closure<dyn FnMut(ProgressEvent)>,
    _on_sent: Closure<dyn FnMut()>,
    _on_end: Closure<dyn FnMut()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.xhr.upload().map(|upload| upload.set_onprogress(None));
        self.xhr.set_onloadend(None);
        if let Err(error) = self.xhr.abort() {
            leptos::logging::warn!("an upload couldn't be aborted: {error:?}");
        }
    }
}

/// Starts an upload. `report` hears of it until it ends; it must not drop the [`Running`] while it is called.
///
/// # Errors
/// When the browser refuses to start it.
pub fn start(
    target: &Target,
    user: &UserId,
    file: &File,
    report: impl Fn(Progress) + Clone + 'static,
) -> Result<Running, RestError> {
    open(target, user, file, report).map_err(|error| browser(&error))
}

fn open(
    target: &Target,
    user: &UserId,
    file: &File,
    report: impl Fn(Progress) + Clone + 'static,
) -> Result<Running, JsValue> {
    let xhr = XmlHttpRequest::new()?;
    match target {
        Target::New { key } => {
            xhr.open_with_async("POST", &format!("{}/files", address::api()), true)?;
            xhr.set_request_header("idempotency-key", &format!("\"{key}\""))?;
        }
        Target::Replace { id, version } => {
            xhr.open_with_async("PUT", &format!("{}{}", address::api(), file_path(id)), true)?;
            xhr.set_request_header("if-match", &format!("\"{version}\""))?;
        }
    }
    xhr.set_request_header(USER_HEADER, user.as_str())?;

    let progress = report.clone();
    let on_progress = Closure::<dyn FnMut(ProgressEvent)>::new(move |event: ProgressEvent| {
        progress(Progress::Sent { sent: whole(event.loaded()), total: whole(event.total()) });
    });
    let sent = report.clone();
    let on_sent = Closure::<dyn FnMut()>::new(move || sent(Progress::AllSent));
    let ended = xhr.clone();
    let on_end = Closure::<dyn FnMut()>::new(move || report(outcome(&ended)));
    let upload = xhr.upload()?;
    upload.set_onprogress(Some(on_progress.as_ref().unchecked_ref()));
    upload.set_onload(Some(on_sent.as_ref().unchecked_ref()));
    xhr.set_onloadend(Some(on_end.as_ref().unchecked_ref()));

    let form = FormData::new()?;
    form.append_with_blob_and_filename("uploaded", file, &file.name())?;
    xhr.send_with_opt_form_data(Some(&form))?;
    Ok(Running { xhr, _on_progress: on_progress, _on_sent: on_sent, _on_end: on_end })
}

/// Returns a key that no other upload of this user's has. The browser's usual chance will do: who guesses it learns
/// nothing, and it is forgotten after a day.
pub fn new_key() -> String {
    format!("{:016x}{:016x}", js_sys::Math::random().to_bits(), js_sys::Math::random().to_bits())
}

fn outcome(xhr: &XmlHttpRequest) -> Progress {
    let status = xhr.status().unwrap_or(0);
    let body = xhr.response_text().ok().flatten().unwrap_or_default();
    Progress::Ended(match status {
        0 => Err(RestError::Unreachable),
        200..300 => json::read(&body).map(Box::new).map_err(|error| RestError::Answer(error.to_string())),
        _ => Err(refusal(status, &body)),
    })
}

/// A count of bytes as browsers give it: a float that is whole and exact below 2^53.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, not negative, below 2^53")]
fn whole(count: f64) -> u64 {
    count as u64
}
