//! TLS for all connections: rustls with ring, or the system's OpenSSL. Always verified; there is no switch.
//!
//! Authorities are the system's and those of `tls.ca_file`. The provider of rustls is passed
//! explicitly, because a library must not install one for the whole process.

use std::path::Path;

use tokio::net::TcpStream;

use crate::provider::{ErrorClass, StageError};

#[cfg(not(any(feature = "tls-rustls", feature = "tls-openssl")))]
compile_error!("mgw needs one of the features tls-rustls (default) and tls-openssl");

#[cfg(feature = "tls-rustls")]
pub(super) use with_rustls::{Tls, TlsStream};

#[cfg(all(feature = "tls-openssl", not(feature = "tls-rustls")))]
pub(super) use with_openssl::{Tls, TlsStream};

/// A setting of ours is wrong; nothing that the other side could mend.
pub(super) fn bad_tls(message: impl AsRef<str>) -> StageError {
    StageError::new(ErrorClass::Configuration, "tls_settings", message)
}

#[cfg(feature = "tls-rustls")]
mod with_rustls {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::{ErrorClass, Path, StageError, TcpStream, bad_tls};

    /// An encrypted connection.
    pub(crate) type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

    /// Shared settings; sessions are resumed through them.
    #[derive(Clone)]
    pub(crate) struct Tls {
        config: Arc<ClientConfig>,
    }

    impl Tls {
        pub(crate) fn load(ca_file: Option<&Path>) -> Result<Self, StageError> {
            let mut roots = RootCertStore::empty();
            // Single unreadable files of the system's store are no reason not to use the others.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if let Some(path) = ca_file {
                let unreadable = |why: String| bad_tls(format!("tls.ca_file cannot be used: {why}"));
                let mut found = 0;
                for cert in CertificateDer::pem_file_iter(path).map_err(|why| unreadable(why.to_string()))? {
                    let cert = cert.map_err(|why| unreadable(why.to_string()))?;
                    roots.add(cert).map_err(|why| unreadable(why.to_string()))?;
                    found += 1;
                }
                if found == 0 {
                    return Err(unreadable("there is no certificate in it".to_owned()));
                }
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|why| bad_tls(why.to_string()))?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok(Self { config: Arc::new(config) })
        }

        /// Encrypts `tcp`, having checked that the other side is `host`.
        pub(crate) async fn connect(&self, host: &str, tcp: TcpStream) -> Result<TlsStream, StageError> {
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(|_| bad_tls("The host of the base URL is not a name that TLS can check."))?;
            TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await.map_err(|error| {
                // A certificate that does not fit needs a person; anything else may pass.
                let rustls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                let class = match rustls {
                    Some(rustls::Error::InvalidCertificate(_)) => ErrorClass::Configuration,
                    _ => ErrorClass::RetryNow,
                };
                StageError::new(class, "tls", format!("TLS failed: {error}"))
            })
        }

        /// The same for HTTP, which also offers HTTP/2.
        pub(crate) fn http(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
            let mut config = ClientConfig::clone(&self.config);
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            builder.tls_backend_preconfigured(config)
        }
    }
}

#[cfg(all(feature = "tls-openssl", not(feature = "tls-rustls")))]
mod with_openssl {
    use super::{ErrorClass, Path, StageError, TcpStream, bad_tls};

    /// An encrypted connection.
    pub(crate) type TlsStream = tokio_native_tls::TlsStream<TcpStream>;

    /// Shared settings.
    #[derive(Clone)]
    pub(crate) struct Tls {
        plain: native_tls::TlsConnector,
        authorities: Vec<reqwest::Certificate>,
    }

    impl Tls {
        pub(crate) fn load(ca_file: Option<&Path>) -> Result<Self, StageError> {
            let mut builder = native_tls::TlsConnector::builder();
            builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
            let mut authorities = Vec::new();
            if let Some(path) = ca_file {
                let unreadable = |why: &dyn std::fmt::Display| bad_tls(format!("tls.ca_file cannot be used: {why}"));
                let pem = std::fs::read(path).map_err(|why| unreadable(&why))?;
                authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|why| unreadable(&why))?;
                let mut found = 0;
                for block in pem_blocks(&String::from_utf8_lossy(&pem)) {
                    builder.add_root_certificate(
                        native_tls::Certificate::from_pem(block.as_bytes()).map_err(|why| unreadable(&why))?,
                    );
                    found += 1;
                }
                if found == 0 {
                    return Err(unreadable(&"there is no certificate in it"));
                }
            }
            let plain = builder.build().map_err(|why| bad_tls(why.to_string()))?;
            Ok(Self { plain, authorities })
        }

        /// Encrypts `tcp`, having checked that the other side is `host`.
        pub(crate) async fn connect(&self, host: &str, tcp: TcpStream) -> Result<TlsStream, StageError> {
            let connector = tokio_native_tls::TlsConnector::from(self.plain.clone());
            connector.connect(host.trim_matches(['[', ']']), tcp).await.map_err(|error| {
                let text = error.to_string();
                let bad = text.contains("certificate");
                let class = if bad { ErrorClass::Configuration } else { ErrorClass::RetryNow };
                StageError::new(class, "tls", format!("TLS failed: {text}"))
            })
        }

        /// The same for HTTP, which also offers HTTP/2.
        pub(crate) fn http(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
            builder
                .tls_backend_native()
                .tls_version_min(reqwest::tls::Version::TLS_1_2)
                .tls_certs_merge(self.authorities.iter().cloned())
        }
    }

    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";

    /// The certificates of a bundle, one by one; native-tls reads only the first of a text.
    fn pem_blocks(text: &str) -> impl Iterator<Item = String> + '_ {
        text.split(BEGIN)
            .skip(1)
            .filter_map(|rest| rest.split_once(END))
            .map(|(body, _)| format!("{BEGIN}{body}{END}\n"))
    }
}
