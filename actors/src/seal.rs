//! Secrets at rest: each account has a data key, and the cluster's key wraps those.
//!
//! The gateway seals what clients hand in; senders and verifiers open it just before use. AES-256-GCM-SIV, which forgives
//! a repeated nonce. A sealed value is nonce (12 bytes), ciphertext and tag.
//!
//! # Invariants
//! - **Z1 one account**: a value sealed for one account opens with no other account's key.
//! - **Z2 erasing**: without its wrapped key an account's secrets are noise; deleting the key erases them, and nothing it
//!   signed is vouched for any more.

use aes_gcm_siv::aead::Aead as _;
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// A sealed value did not open: another key sealed it, or its bytes changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed secret does not open with this key")]
pub struct SealError;

/// Seals and opens with the key of this cluster.
pub struct Sealer {
    cluster: Aes256GcmSiv,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

impl Sealer {
    /// A sealer under the cluster's key.
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self { cluster: Aes256GcmSiv::new(key.into()) }
    }

    /// A new data key, wrapped, for an account to keep.
    #[must_use]
    pub fn new_data_key(&self) -> Vec<u8> {
        let key = Zeroizing::new(rand::random::<[u8; KEY_BYTES]>());
        encrypt(&self.cluster, &*key)
    }

    /// Seals a secret of the account with this wrapped key.
    pub fn seal(&self, wrapped_key: &[u8], secret: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(encrypt(&self.data_key(wrapped_key)?, secret))
    }

    /// Opens a sealed secret of the account with this wrapped key.
    pub fn open(&self, wrapped_key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        decrypt(&self.data_key(wrapped_key)?, sealed)
    }

    /// Vouches for a text on behalf of the account with this wrapped key. `purpose` keeps what one text is for apart from
    /// all others.
    pub fn sign(&self, wrapped_key: &[u8], purpose: &str, text: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(self.mac(wrapped_key, purpose, text)?.finalize().into_bytes().to_vec())
    }

    /// Whether the account with this wrapped key vouched for a text. Takes the same time for any wrong signature.
    pub fn vouched(&self, wrapped_key: &[u8], purpose: &str, text: &[u8], signature: &[u8]) -> Result<bool, SealError> {
        Ok(self.mac(wrapped_key, purpose, text)?.verify_slice(signature).is_ok())
    }

    fn mac(&self, wrapped_key: &[u8], purpose: &str, text: &[u8]) -> Result<Hmac<Sha256>, SealError> {
        let data_key = decrypt(&self.cluster, wrapped_key)?;
        let key = Zeroizing::new(blake3::derive_key(purpose, &data_key));
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&*key).map_err(|_| SealError)?;
        Ok(mac.chain_update(text))
    }

    fn data_key(&self, wrapped_key: &[u8]) -> Result<Aes256GcmSiv, SealError> {
        let key = decrypt(&self.cluster, wrapped_key)?;
        Aes256GcmSiv::new_from_slice(&key).map_err(|_| SealError)
    }
}

fn encrypt(cipher: &Aes256GcmSiv, plain: &[u8]) -> Vec<u8> {
    let nonce = rand::random::<[u8; NONCE_BYTES]>();
    let sealed =
        cipher.encrypt(&Nonce::from(nonce), plain).expect("a secret is far below the cipher's limit of 64 GiB");
    [nonce.as_slice(), &sealed].concat()
}

fn decrypt(cipher: &Aes256GcmSiv, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SealError)?;
    cipher.decrypt(&Nonce::from(*nonce), sealed).map(Zeroizing::new).map_err(|_| SealError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_for_its_account_and_cluster() {
        let sealer = Sealer::new(&[7; 32]);
        let (acme, other) = (sealer.new_data_key(), sealer.new_data_key());
        let sealed = sealer.seal(&acme, b"whsec_1").unwrap();
        assert_eq!(sealer.open(&acme, &sealed).unwrap().as_slice(), b"whsec_1");
        assert_eq!(sealer.open(&other, &sealed), Err(SealError));
        assert_eq!(Sealer::new(&[8; 32]).open(&acme, &sealed), Err(SealError));
    }

    #[test]
    fn vouches_only_for_its_account_purpose_and_text() {
        let sealer = Sealer::new(&[7; 32]);
        let (acme, other) = (sealer.new_data_key(), sealer.new_data_key());
        let signature = sealer.sign(&acme, "links", b"text").unwrap();
        let vouched = |key: &[u8], purpose: &str, text: &[u8], signature: &[u8]| {
            sealer.vouched(key, purpose, text, signature).unwrap()
        };
        assert!(vouched(&acme, "links", b"text", &signature));
        assert!(!vouched(&other, "links", b"text", &signature));
        assert!(!vouched(&acme, "doors", b"text", &signature));
        assert!(!vouched(&acme, "links", b"texT", &signature));
        assert!(!vouched(&acme, "links", b"text", &signature[..31]));
        assert!(!vouched(&acme, "links", b"text", b""));
        assert_eq!(Sealer::new(&[8; 32]).sign(&acme, "links", b"text"), Err(SealError));
    }

    #[test]
    fn refuses_changed_and_short_bytes() {
        let sealer = Sealer::new(&[7; 32]);
        let key = sealer.new_data_key();
        let sealed = sealer.seal(&key, b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open(&key, &changed), Err(SealError), "byte {at}");
            assert_eq!(sealer.open(&key, &sealed[..at]), Err(SealError), "length {at}");
        }
    }
}
