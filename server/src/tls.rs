//! Encryption of what this process dials: whom it trusts, and a stream that is encrypted or isn't. One provider of
//! cryptography (aws-lc-rs), named where it is used, so that none has to be installed for the process.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, pem};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why nobody can be trusted, so that nothing can be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of certificates can't be read.
    #[error("can't read the certificates in {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The file has no certificate of an authority.
    #[error("there is no certificate of an authority in {0}")]
    Empty(PathBuf),
    /// The system knows no authorities.
    #[error(
        "this system has no certificates of authorities (Debian's are in the package ca-certificates); name a file with --ca-file"
    )]
    NoAuthorities,
    /// The library doesn't accept its own numbers.
    #[error("encryption can't be set up")]
    Setup(#[from] rustls::Error),
}

/// The authorities whose certificates are believed; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Believes the authorities in `ca_file` (PEM) and no others; without, those that the system believes.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca_file {
            let failed = |source| TrustError::File { path: path.to_owned(), source };
            for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
                roots.add_parsable_certificates([certificate.map_err(failed)?]);
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() {
            return Err(ca_file.map_or(TrustError::NoAuthorities, |path| TrustError::Empty(path.to_owned())));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    /// For a library that encrypts by itself.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Encrypts what is said on `stream`, if the other end can show that it is `host`.
    ///
    /// # Errors
    /// When it can't, or doesn't encrypt; then nothing was said.
    pub async fn encrypt(&self, host: &str, stream: TcpStream) -> io::Result<Stream> {
        let name = ServerName::try_from(bare(host).to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let shaken = TlsConnector::from(self.config()).connect(name, stream).await;
        shaken.map(|stream| Stream::Encrypted(Box::new(stream))).map_err(|error| refused(host, &error))
    }
}

/// A host as certificates name it: an IPv6 address without its brackets.
pub fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Why there is no encrypted connection with `host`, and what may help.
pub fn refused(host: &str, error: &io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let hint = match cause {
        Some(rustls::Error::InvalidCertificate(_)) => "; --ca-file names an authority of one's own",
        Some(rustls::Error::InvalidMessage(_)) => "; does it encrypt on this port?",
        Some(_) | None => "",
    };
    io::Error::new(error.kind(), format!("no encrypted connection with {host}: {error}{hint}"))
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub enum Stream {
    /// Anybody on the way can read it.
    Plain(TcpStream),
    /// Nobody can.
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
