//! What is known of the images: whether they are there, what exactly they are, whom they run as.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::models::ImageInspect;
use parking_lot::Mutex;
use tokio::time::Instant;
use visor_protocol::PoolName;
use visor_protocol::outcome::Fault;
use visor_protocol::worker::ImageStatus;

use super::engine::{Engine, EngineError};
use crate::workspace::copy::Owner;

/// How long an image is believed to be as it was. A missing one is looked for again at once.
const FRESH: Duration = Duration::from_secs(15);

/// The image that the offline build makes.
const OFFLINE: &str = "visor/base:busybox";

/// What the image that `sandbox-images/base` describes is called.
const BASE: &str = "visor/base";

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name with its digest, or with its id when it came from no registry.
    pub exact: String,
    /// Whom its author made it for, when that is a number and not the administrator.
    pub user: Option<Owner>,
}

/// What is known of the images.
#[derive(Debug)]
pub struct Images {
    pool: PoolName,
    /// Those the worker was told to have.
    wanted: Vec<String>,
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    at: Instant,
    image: Result<Image, String>,
}

impl Images {
    /// Nothing is known yet.
    pub fn new(pool: PoolName, wanted: Vec<String>) -> Self {
        Self { pool, wanted, known: Mutex::new(BTreeMap::new()) }
    }

    /// The images the worker was told to have, and how they stand.
    pub fn status(&self) -> Vec<ImageStatus> {
        let known = self.known.lock();
        let status = |name: &String| {
            let (ready, detail) = match known.get(name).map(|known| &known.image) {
                Some(Ok(image)) => (true, image.exact.clone()),
                Some(Err(why)) => (false, why.clone()),
                None => (false, "not looked for yet".to_owned()),
            };
            ImageStatus { image: name.clone(), ready, detail }
        };
        self.wanted.iter().map(status).collect()
    }

    /// Looks for every image the worker was told to have. True when something changed.
    pub async fn check(&self, engine: &Engine) -> bool {
        let before = self.status();
        for name in &self.wanted {
            let was_ready = self.known.lock().get(name).map(|known| known.image.is_ok());
            let found = self.look(name, engine).await;
            match (found, was_ready) {
                (Ok(image), None | Some(false)) => {
                    tracing::info!(image = name, exact = image.exact, "image ready");
                }
                (Err(fault), None | Some(true)) => tracing::error!("{}", fault.message),
                (Ok(_), Some(true)) | (Err(_), Some(false)) => {}
            }
        }
        self.status() != before
    }

    /// An image that a job needs.
    ///
    /// # Errors
    /// When it is not there, or the engine is not.
    pub async fn get(&self, name: &str, engine: &Engine) -> Result<Image, Fault> {
        let known = self.known.lock().get(name).cloned();
        match known {
            Some(Known { at, image: Ok(image) }) if at.elapsed() < FRESH => Ok(image),
            Some(_) | None => self.look(name, engine).await,
        }
    }

    /// It turned out not to be there after all.
    pub fn forget(&self, name: &str) {
        self.known.lock().remove(name);
    }

    async fn look(&self, name: &str, engine: &Engine) -> Result<Image, Fault> {
        let looked = async {
            let client = engine.client().await?;
            engine.call("look for an image", client.inspect_image(name)).await
        };
        let image = match looked.await {
            Ok(found) => Ok(describe(name, found)),
            Err(error) if error.is_absent() => Err(self.missing(name)),
            // Not the image's fault, and nothing is known of it.
            Err(error) => return Err(self.engine_fault(name, &error)),
        };
        let known = image.clone().map_err(|fault| fault.message.clone());
        let mut all = self.known.lock();
        // Only names that workers were told, or that jobs asked for within the last while.
        if all.len() >= 1024 {
            all.retain(|name, known| self.wanted.contains(name) || known.at.elapsed() < FRESH);
        }
        all.insert(name.to_owned(), Known { at: Instant::now(), image: known });
        image
    }

    fn engine_fault(&self, name: &str, error: &EngineError) -> Fault {
        let fault = error.fault();
        Fault { message: format!("image `{name}`: {}", fault.message), ..fault }
    }

    /// The fault of a job whose image is not there.
    pub fn missing(&self, name: &str) -> Fault {
        let how = if name == OFFLINE {
            "build it there with `sandbox-images/build-offline.sh`".to_owned()
        } else if name.starts_with(BASE) {
            format!("build it there with `docker build -t {name} sandbox-images/base`")
        } else {
            format!("build it there, or fetch it with `docker pull {name}`")
        };
        let message =
            format!("image `{name}` is not on this worker's machine, pool `{}`: {how}", self.pool);
        Fault { code: "visor::sandbox::image_missing".into(), message, retry: true }
    }
}

fn describe(name: &str, found: ImageInspect) -> Image {
    let digest = found.repo_digests.unwrap_or_default().into_iter().next();
    let exact = digest.unwrap_or_else(|| match found.id {
        Some(id) => format!("{name} ({id})"),
        None => name.to_owned(),
    });
    let user = found.config.and_then(|config| config.user).and_then(|user| numeric(&user));
    Image { exact, user }
}

/// A user as `uid` or `uid:gid`. Names would have to be looked up inside the image.
fn numeric(user: &str) -> Option<Owner> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, user));
    let owner = Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
    (owner.uid != 0 && owner.gid != 0).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_made_for_the_administrator_says_nothing() {
        assert_eq!(numeric("1000"), Some(Owner { uid: 1000, gid: 1000 }));
        assert_eq!(numeric("1000:2000"), Some(Owner { uid: 1000, gid: 2000 }));
        for user in ["", "0", "0:0", "1000:0", "root", "node", "1000:staff", "-1"] {
            assert_eq!(numeric(user), None, "{user}");
        }
    }

    #[test]
    fn a_missing_image_says_where_and_what_to_do() {
        let images = Images::new(PoolName::default_pool(), vec![OFFLINE.into()]);
        let fault = images.missing(OFFLINE);
        for part in [OFFLINE, "`default`", "build-offline.sh"] {
            assert!(fault.message.contains(part), "{}", fault.message);
        }
        assert!(fault.retry && !images.status()[0].ready);
    }
}
