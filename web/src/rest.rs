//! Calls to the REST API that the page belongs to, typed by `shared::wire::rest`.

mod call;
pub mod upload;

use shared::ids::{PeerId, UserId, Version};
use shared::wire::lab::{LabConfig, LabRunOut};
use shared::wire::rest::{FileOut, PeerAction, PeerActionIn, PeerOut, Problem, ShareIn};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;

use crate::json;
use crate::rest::call::{Call, decode};

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// The server refused it.
    #[error("{detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What was wrong, as the server says.
        detail: String,
    },
    /// No answer came.
    #[error("the server can't be reached")]
    Unreachable,
    /// The answer can't be understood.
    #[error("the server's answer can't be understood: {0}")]
    Answer(String),
    /// The browser refused to do it.
    #[error("the browser can't do that: {0}")]
    Browser(String),
}

/// One page of the list of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePage {
    /// The files, newest first.
    pub files: Vec<FileOut>,
    /// The path of the next page.
    pub next: Option<String>,
}

/// The path of the first `limit` files.
pub fn first_page(limit: usize) -> String {
    format!("/files?limit={limit}")
}

/// The path of a file. Its id is one path segment, whatever is in it.
pub fn file_path(id: &str) -> String {
    format!("/files/{}", js_sys::encode_uri_component(id))
}

/// One page of the files that `user` may see; `path` from [`first_page`] or [`FilePage::next`].
///
/// # Errors
/// When the server refuses or can't be reached.
pub async fn list_files(user: &UserId, path: &str) -> Result<FilePage, RestError> {
    let answer = Call::new("GET", path, user).send().await?;
    let next = answer.headers().get("link").ok().flatten().as_deref().and_then(next_page);
    Ok(FilePage { files: decode(&answer).await?, next })
}

/// Deletes version `version` of a file, if it is the latest.
///
/// # Errors
/// When the server refuses (somebody was faster) or can't be reached.
pub async fn delete_file(user: &UserId, id: &str, version: Version) -> Result<(), RestError> {
    let call = Call::new("DELETE", &file_path(id), user).with("if-match", format!("\"{version}\""));
    call.send().await.map(drop)
}

/// Lets `target` see a file.
///
/// # Errors
/// When the server refuses or can't be reached.
pub async fn share_file(user: &UserId, id: &str, target: &UserId) -> Result<(), RestError> {
    let path = format!("/shares/{}", js_sys::encode_uri_component(id));
    let body = ShareIn { target_user_id: target.to_string() };
    Call::new("POST", &path, user).with_json(&body).send().await.map(drop)
}

/// Fetches a file and hands it to the browser to save under `name`.
///
/// # Errors
/// When the server refuses or can't be reached.
pub async fn download_file(user: &UserId, id: &str, name: &str) -> Result<(), RestError> {
    let answer = Call::new("GET", &file_path(id), user).send().await?;
    let blob = answer.blob().map_err(|error| browser(&error))?;
    let blob = JsFuture::from(blob).await.map_err(|error| browser(&error))?;
    save(&blob.unchecked_into(), name)
}

/// Starts one more peer.
///
/// # Errors
/// When the server refuses or can't be reached.
pub async fn start_peer(user: &UserId) -> Result<PeerOut, RestError> {
    decode(&Call::new("POST", "/peers", user).send().await?).await
}

/// Lets a peer say goodbye and stop.
///
/// # Errors
/// When the server refuses or can't be reached.
pub async fn leave_peer(user: &UserId, peer: PeerId) -> Result<(), RestError> {
    Call::new("DELETE", &format!("/peers/{peer}"), user).send().await.map(drop)
}

/// Does `action` with a peer.
///
/// # Errors
/// When the server refuses or can't be reached.
pub async fn act_on_peer(user: &UserId, peer: PeerId, action: PeerAction) -> Result<(), RestError> {
    let path = format!("/peers/{peer}/actions");
    Call::new("POST", &path, user).with_json(&PeerActionIn { action }).send().await.map(drop)
}

/// Starts a run of the concurrency lab.
///
/// # Errors
/// When one runs already, or the server can't be reached.
pub async fn start_lab(user: &UserId, config: &LabConfig) -> Result<LabRunOut, RestError> {
    decode(&Call::new("POST", "/lab/runs", user).with_json(config).send().await?).await
}

/// A run of the concurrency lab.
///
/// # Errors
/// When it is no longer known, or the server can't be reached.
pub async fn lab_run(user: &UserId, id: &str) -> Result<LabRunOut, RestError> {
    let path = format!("/lab/runs/{}", js_sys::encode_uri_component(id));
    decode(&Call::new("GET", &path, user).send().await?).await
}

/// What the server says is wrong: its problem's detail, or what can be said without one.
fn refusal(status: u16, body: &str) -> RestError {
    let detail = match json::read::<Problem>(body) {
        Ok(problem) => problem.detail,
        Err(_not_a_problem) => format!("the server answered with status {status}"),
    };
    RestError::Refused { status, detail }
}

fn browser(error: &wasm_bindgen::JsValue) -> RestError {
    RestError::Browser(format!("{error:?}"))
}

/// The path of the link with `rel="next"` in a `Link` header (RFC 8288): its query, for behind a proxy the rest of it may
/// not be what this page has to call.
fn next_page(header: &str) -> Option<String> {
    let next = header.split(',').find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))?;
    let (_, rest) = next.split_once('<')?;
    let (target, _) = rest.split_once('>')?;
    let (_, query) = target.split_once('?')?;
    Some(format!("/files?{query}"))
}

/// Saves a blob as a download does: through a link that nobody sees.
fn save(blob: &web_sys::Blob, name: &str) -> Result<(), RestError> {
    let document = web_sys::window().and_then(|window| window.document());
    let document = document.ok_or_else(|| RestError::Browser("no document".to_owned()))?;
    let url = web_sys::Url::create_object_url_with_blob(blob).map_err(|error| browser(&error))?;
    let link = document.create_element("a").map_err(|error| browser(&error))?;
    let link: web_sys::HtmlAnchorElement = link.unchecked_into();
    link.set_href(&url);
    link.set_download(name);
    link.click();
    // The browser has taken hold of the blob by the time the click returns.
    web_sys::Url::revoke_object_url(&url).map_err(|error| browser(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        let header = r#"</files?limit=5>; rel="first", </vine/files?limit=5&after=x>; rel="next""#;
        assert_eq!(next_page(header).as_deref(), Some("/files?limit=5&after=x"));
        assert_eq!(next_page(r#"</files>; rel="first""#), None);
    }

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let problem = r#"{"type":"urn:x","title":"t","status":412,"detail":"version 2 is the latest"}"#;
        assert_eq!(refusal(412, problem).to_string(), "version 2 is the latest");
        assert_eq!(refusal(502, "<html>").to_string(), "the server answered with status 502");
    }
}
