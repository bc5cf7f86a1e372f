//! Where the server is: seen from where the page came from, so that a proxy may have it under any path.

/// The API's address without a slash at its end: for curl lines, and before the path of each call.
pub fn api() -> String {
    let document = web_sys::window().and_then(|window| window.document());
    let page = document.and_then(|document| document.base_uri().ok().flatten());
    page.and_then(|page| api_of(&page)).unwrap_or_else(|| "..".to_owned())
}

/// The event stream's address.
pub fn stream() -> String {
    format!("{}/ws", api().replacen("http", "ws", 1))
}

/// The API is where the page's folder `ui/` is.
fn api_of(page: &str) -> Option<String> {
    let page = page.split(['?', '#']).next()?;
    let (folder, _page) = page.rsplit_once('/')?;
    let (api, _ui) = folder.rsplit_once('/')?;
    Some(api.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_beside_the_page_wherever_a_proxy_puts_both() {
        for (page, api) in [
            ("http://127.0.0.1:8000/ui/", "http://127.0.0.1:8000"),
            ("https://example.org/tools/grapevine/ui/", "https://example.org/tools/grapevine"),
            ("https://example.org/vine/ui/?theme=a/b#files/c", "https://example.org/vine"),
            ("https://example.org/vine/ui/index.html", "https://example.org/vine"),
        ] {
            assert_eq!(api_of(page).as_deref(), Some(api));
        }
    }
}
