//! Certificates: one that `tls.ca_file` vouches for is taken, everything else refused.

use std::io::Write;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::super::test_server::Server;
use super::{Media, NOWHERE, ROOM, SESSION, reach};
use crate::engine::NetCommand;
use crate::net::Runtime;
use crate::provider::{ErrorClass, Stage};

/// A server for `name` with a certificate of a new authority; gives also the authority's PEM.
fn server(name: &str) -> (Server, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let cert = params.signed_by(&key, &authority).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a server's settings");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::start(move |_, tcp| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(tls) = acceptor.accept(tcp).await else {
                return;
            };
            if let Ok(mut ws) = tokio_tungstenite::accept_async(tls).await {
                while let Some(Ok(_)) = futures_util::StreamExt::next(&mut ws).await {}
            }
        }
    });
    (server, authority.pem())
}

#[test]
fn only_certificates_that_fit_are_taken() {
    for (what, name, vouched, good) in [
        ("a known authority", "localhost", true, true),
        ("an unknown authority", "localhost", false, false),
        ("another host's certificate", "elsewhere.example", true, false),
    ] {
        let (server, pem) = server(name);
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(pem.as_bytes()).expect("the file is written");
        let mut media = Media::new();
        if vouched {
            let (sender, receiver) = crossbeam_channel::bounded(64);
            let runtime = Runtime::acquire(2).expect("a runtime");
            media.port = crate::net::Port::new(runtime, sender, Some(file.path().to_owned()), Arc::default());
            media.receiver = receiver;
        }
        let url = format!("https://localhost:{}", server.address.port());
        media
            .port
            .apply(ROOM, NetCommand::OpenStt { session: SESSION, config: reach(&url, NOWHERE, NOWHERE), rate: 16_000 });
        if good {
            media.ready(Stage::Stt);
        } else {
            let (error, _) = media.down(Stage::Stt);
            assert_eq!((error.class, error.code.as_str()), (ErrorClass::Configuration, "tls"), "{what}: {error:?}");
        }
    }
}

#[test]
fn a_file_without_authorities_is_told() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut media = Media::new();
    let (sender, receiver) = crossbeam_channel::bounded(64);
    media.port = crate::net::Port::new(
        Runtime::acquire(2).expect("a runtime"),
        sender,
        Some(file.path().to_owned()),
        Arc::default(),
    );
    media.receiver = receiver;
    media.apply(NetCommand::OpenStt { session: SESSION, config: reach(NOWHERE, NOWHERE, NOWHERE), rate: 16_000 });
    let (error, _) = media.down(Stage::Stt);
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Configuration, "tls_settings"));
}
