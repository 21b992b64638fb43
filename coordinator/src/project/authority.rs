//! The project's own certificate authority and the server's certificate.

use super::{Error, Folder, file, names};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::sign::CertifiedKey;
use std::path::PathBuf;

type Certificates = (CertificateDer<'static>, CertificateDer<'static>, PrivateKeyDer<'static>);

/// Authority's certificate, server's certificate and server's key, made as far as they are not there.
pub(crate) fn certificates(folder: &Folder) -> Result<Certificates, Error> {
    if file::read(&folder.at(names::CA))?.is_none() {
        make_authority(folder)?;
    }
    if file::read(&folder.at(names::SERVER))?.is_none()
        || file::read(&folder.at(names::SERVER_KEY))?.is_none()
    {
        make_server(folder)?;
    }
    let ca = certificate(folder.at(names::CA))?;
    let server = certificate(folder.at(names::SERVER))?;
    let key = private_key(folder.at(names::SERVER_KEY))?;
    check(folder, &ca, &server, &key)?;
    Ok((ca, server, key))
}

/// Whether whoever trusts the authority would trust the server.
fn check(
    folder: &Folder,
    ca: &CertificateDer<'static>,
    server: &CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
) -> Result<(), Error> {
    let wrong = |name: &str, expected| Error::Damaged { path: folder.at(name), expected };
    client::tls::check_server(ca, server).map_err(|_| {
        wrong(names::SERVER, "a certificate that the authority in ca.pem has signed; without it, it is made anew with ca.key")
    })?;
    let provider = rustls::crypto::ring::default_provider();
    let pair = CertifiedKey::from_der(vec![server.clone()], key.clone_key(), &provider);
    pair.map(drop).map_err(|_| {
        wrong(
            names::SERVER_KEY,
            "the key of the certificate in server.pem; without it, both are made anew with ca.key",
        )
    })
}

/// The authority never expires in practice: its fingerprint is in every join string that was ever given out.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Starling project authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(1975, 1, 1), rcgen::date_time_ymd(4096, 1, 1));
    params
}

fn make_authority(folder: &Folder) -> Result<(), Error> {
    let path = folder.at(names::CA);
    if folder.in_use() || folder.at(names::SERVER).exists() {
        return Err(Error::Lost {
            path,
            reason: "join strings that were given out carry its fingerprint",
        });
    }
    let key = KeyPair::generate()?;
    file::write(&folder.at(names::CA_KEY), key.serialize_pem().as_bytes())?;
    let ca = authority_params().self_signed(&key)?;
    file::write(&path, ca.pem().as_bytes())
}

fn make_server(folder: &Folder) -> Result<(), Error> {
    let path = folder.at(names::CA_KEY);
    let Some(pem) = file::read(&path)? else {
        return Err(Error::Lost {
            path,
            reason: "the server's certificate is to be signed with it",
        });
    };
    let damaged = || Error::Damaged { path: path.clone(), expected: "a private key in PEM" };
    let ca_key = std::str::from_utf8(&pem)
        .ok()
        .and_then(|pem| KeyPair::from_pem(pem).ok())
        .ok_or_else(damaged)?;
    let issuer = Issuer::new(authority_params(), ca_key);
    let mut params = CertificateParams::new([client::tls::SERVER_NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, client::tls::SERVER_NAME);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let server = params.signed_by(&key, &issuer)?;
    file::write(&folder.at(names::SERVER_KEY), key.serialize_pem().as_bytes())?;
    file::write(&folder.at(names::SERVER), server.pem().as_bytes())
}

pub(crate) fn certificate(path: PathBuf) -> Result<CertificateDer<'static>, Error> {
    let pem = file::read(&path)?.unwrap_or_default();
    CertificateDer::from_pem_slice(&pem)
        .map_err(|_| Error::Damaged { path, expected: "a certificate in PEM" })
}

fn private_key(path: PathBuf) -> Result<PrivateKeyDer<'static>, Error> {
    let pem = file::read(&path)?.unwrap_or_default();
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| Error::Damaged { path, expected: "a private key in PEM" })
}
