//! Blobs.

use bytes::Bytes;
use visor_protocol::ids::ContentHash;
use visor_transport::BusError;

use crate::fixture::Fixture;

crate::conformance! {
    bytes_are_kept_under_their_hash,
    keeping_the_same_bytes_twice_is_keeping_them_once,
    no_bytes_at_all_can_be_kept,
    a_blob_larger_than_a_message_can_be_kept,
    a_blob_larger_than_the_limit_is_refused,
    a_blob_that_is_not_there_is_named,
}

async fn bytes_are_kept_under_their_hash(f: Fixture) {
    let hash = f.bus.put_blob(Bytes::from_static(b"some bytes")).await.unwrap();
    assert_eq!(hash, ContentHash::of(b"some bytes"));
    assert!(f.other.has_blob(hash).await.unwrap());
    assert_eq!(f.other.get_blob(hash, 10).await.unwrap(), "some bytes");
}

async fn keeping_the_same_bytes_twice_is_keeping_them_once(f: Fixture) {
    let bytes = Bytes::from(vec![7; 300_000]);
    let (first, second) =
        tokio::join!(f.bus.put_blob(bytes.clone()), f.other.put_blob(bytes.clone()));
    assert_eq!(first.unwrap(), second.unwrap());
    let hash = f.bus.put_blob(bytes.clone()).await.unwrap();
    assert_eq!(f.bus.get_blob(hash, 300_000).await.unwrap(), bytes);
}

async fn no_bytes_at_all_can_be_kept(f: Fixture) {
    let hash = f.bus.put_blob(Bytes::new()).await.unwrap();
    assert_eq!(f.other.get_blob(hash, 0).await.unwrap(), Bytes::new());
}

async fn a_blob_larger_than_a_message_can_be_kept(f: Fixture) {
    let bytes: Bytes = (0..5_000_000_u32).flat_map(|n| [n as u8, (n >> 8) as u8]).collect();
    let hash = f.bus.put_blob(bytes.clone()).await.unwrap();
    assert!(f.other.get_blob(hash, 10_000_000).await.unwrap() == bytes);
}

async fn a_blob_larger_than_the_limit_is_refused(f: Fixture) {
    let hash = f.bus.put_blob(Bytes::from(vec![1; 1_000_001])).await.unwrap();
    let error = f.other.get_blob(hash, 1_000_000).await.unwrap_err();
    assert!(
        matches!(error, BusError::TooLarge { len: 1_000_001, limit: 1_000_000, .. }),
        "{error}"
    );
}

async fn a_blob_that_is_not_there_is_named(f: Fixture) {
    let hash = ContentHash::of(b"nowhere");
    assert!(!f.bus.has_blob(hash).await.unwrap());
    let error = f.bus.get_blob(hash, 100).await.unwrap_err();
    assert!(matches!(error, BusError::NoBlob { hash: named } if named == hash), "{error}");
}
