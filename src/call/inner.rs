//! What the layer asks of the service behind it.

/// A service that can be cloned: every type that is `Clone`.
///
/// It is a trait of its own so that the compiler's message can name the cure.
#[diagnostic::on_unimplemented(
    message = "the service behind maintenance must be `Clone`, and `{Self}` is not",
    label = "this service is not `Clone`",
    note = "put it behind a buffer, which is: `ServiceBuilder::new().layer(layer.boxed()).buffer(64).service(..)`",
    note = "in place of `BoxService`, use `BoxCloneService`"
)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "its only impl is below")]
pub trait CloneService: Clone {}

#[diagnostic::do_not_recommend]
impl<S: Clone> CloneService for S {}
