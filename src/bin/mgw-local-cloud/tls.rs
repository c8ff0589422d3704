//! A test authority and a server certificate for loopback, made fresh at every start, good or faulty.

use clap::ValueEnum;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// What is wrong with the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TlsFault {
    /// It is for another host.
    WrongName,
    /// It was valid in 2020.
    Expired,
    /// It has signed itself.
    SelfSigned,
    /// An authority has signed it that nobody is told about.
    Untrusted,
}

/// The acceptor (ALPN h2 and http/1.1) and the authority's certificate as PEM.
pub fn make(fault: Option<TlsFault>) -> Result<(TlsAcceptor, String), Box<dyn std::error::Error>> {
    let (ca_pem, known) = authority("mgw-local-cloud test authority")?;
    let issuer = match fault {
        Some(TlsFault::Untrusted) => authority("mgw-local-cloud other authority")?.1,
        _ => known,
    };
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(match fault {
        Some(TlsFault::WrongName) => vec!["elsewhere.example".to_owned()],
        _ => ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
    })?;
    server.distinguished_name.push(DnType::CommonName, "mgw-local-cloud");
    if fault == Some(TlsFault::Expired) {
        (server.not_before, server.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 12, 31));
    }
    let certificate = match fault {
        Some(TlsFault::SelfSigned) => server.self_signed(&key)?,
        _ => server.signed_by(&key, &issuer)?,
    };
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der())?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), ca_pem))
}

/// An authority: its certificate as PEM, and what signs.
fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>), Box<dyn std::error::Error>> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let pem = authority.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(authority, key)))
}
