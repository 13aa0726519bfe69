//! Spawned conveniences, for those who run on a tokio runtime anyway.

use std::future::Future;

use tokio::task::JoinHandle;

use crate::operator::ping::Ping;

impl<F> Ping<F>
where
    F: Future<Output = ()> + Send + 'static,
{
    /// Spawns the ping on the present runtime. It ends by itself when no layer, service or handle is
    /// left; abort the task to let customers probe again.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_maintenance::MaintenanceLayer;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let ping = layer.handle().ping(async || Ok::<_, std::io::Error>(())).spawn();
    /// drop(layer);
    /// ping.await?; // nobody is left to ping for
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn(self) -> JoinHandle<()> {
        tokio::spawn(self)
    }
}
