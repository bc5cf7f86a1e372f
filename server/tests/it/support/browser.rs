//! Headless Chromium through its driver, both ended with the value.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use thirtyfour::error::WebDriverResult;
use thirtyfour::extensions::query::ElementQueryable;
use thirtyfour::{
    By, CapabilitiesHelper, ChromeCapabilities, ChromiumLikeCapabilities, DesiredCapabilities, WebDriver, WebElement,
};

use crate::support::ports::free_ports;
use crate::support::process::PATIENCE;

/// A browser window on one page.
pub(crate) struct Browser {
    driver: WebDriver,
    url: String,
    _process: Driver,
    _profile: tempfile::TempDir,
}

struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        // The browser ends with its driver; one that is gone already is fine.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Browser {
    /// A window that shows `url`.
    pub(crate) async fn open(url: &str) -> Self {
        let [port] = free_ports();
        let driver = Command::new("chromedriver")
            .args([format!("--port={port}"), "--allowed-ips=127.0.0.1".to_owned()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (make test does it)");
        let process = Driver(driver);
        let profile = tempfile::tempdir().unwrap();
        let driver_url = format!("http://127.0.0.1:{port}");
        let driver = session(&driver_url, profile.path().to_str().unwrap()).await;
        driver.goto(url).await.unwrap();
        Self { driver, url: driver_url, _process: process, _profile: profile }
    }

    /// The first element with this `data-testid` whose text has `text`; waits for it.
    pub(crate) async fn sees(&self, testid: &str, text: &str) -> WebElement {
        let end = Instant::now() + PATIENCE;
        let selector = format!("[data-testid='{testid}']");
        loop {
            for element in self.driver.find_all(By::Css(selector.as_str())).await.unwrap() {
                // An element may be replaced while it is read.
                if element.text().await.is_ok_and(|found| found.contains(text)) {
                    return element;
                }
            }
            assert!(Instant::now() < end, "no {testid:?} with {text:?}; the page says:\n{}", self.text().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until so many elements match.
    pub(crate) async fn counts(&self, selector: &str, count: usize) -> Vec<WebElement> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.driver.find_all(By::Css(selector)).await.unwrap();
            if found.len() == count {
                return found;
            }
            assert!(Instant::now() < end, "{} of {selector:?} instead of {count}:\n{}", found.len(), self.text().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The first element that matches; waits for it.
    pub(crate) async fn finds(&self, selector: &str) -> WebElement {
        let query = self.driver.query(By::Css(selector)).wait(PATIENCE, Duration::from_millis(100));
        query.first().await.unwrap_or_else(|error| panic!("no {selector:?}: {error}"))
    }

    /// Waits until the first element that matches has this attribute's value.
    pub(crate) async fn has(&self, selector: &str, attribute: &str, value: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.finds(selector).await.attr(attribute).await.ok().flatten();
            if now.as_deref() == Some(value) {
                return;
            }
            assert!(Instant::now() < end, "{attribute} of {selector:?} is {now:?} instead of {value:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What `body`, the body of an async function, returns in the page, as in its console.
    pub(crate) async fn runs(&self, body: &str) -> Result<serde_json::Value, String> {
        let script = format!(
            "const done = arguments[0];
             (async () => {{ {body} }})().then(value => done({{value}}), error => done({{error: String(error)}}));"
        );
        self.driver.set_script_timeout(PATIENCE).await.unwrap();
        let answer: Result<serde_json::Value, _> = self.driver.execute_async(script, []).await.unwrap().convert();
        let mut answer = answer.unwrap();
        match answer.get("error").and_then(serde_json::Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["value"].take()),
        }
    }

    /// What went wrong in the page, by the browser's own console.
    pub(crate) async fn console_errors(&self) -> Vec<String> {
        let address = format!("{}/session/{}/se/log", self.url, self.driver.session_id());
        let answer = reqwest::Client::new().post(address).json(&json!({"type": "browser"})).send().await.unwrap();
        let log: serde_json::Value = answer.json().await.unwrap();
        let entries = log["value"].as_array().unwrap().iter();
        entries.filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    async fn text(&self) -> String {
        match self.driver.find(By::Tag("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }
}

async fn session(driver_url: &str, profile: &str) -> WebDriver {
    let end = Instant::now() + PATIENCE;
    loop {
        match WebDriver::new(driver_url, capabilities(profile).unwrap()).await {
            Ok(driver) => return driver,
            Err(error) => assert!(Instant::now() < end, "no browser: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn capabilities(profile: &str) -> WebDriverResult<ChromeCapabilities> {
    let mut wanted = DesiredCapabilities::chrome();
    for flag in [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,1600",
    ] {
        wanted.add_arg(flag)?;
    }
    wanted.add_arg(&format!("--user-data-dir={profile}"))?;
    wanted.set("goog:loggingPrefs", json!({"browser": "ALL"}))?;
    Ok(wanted)
}
