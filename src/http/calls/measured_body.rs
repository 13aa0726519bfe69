//! The public body type of a measured answer, written once for every protocol.
//!
//! HTTP and gRPC each have a body type of their own. The two differ in their documentation and in
//! how a frame is read ([`Reading`](super::streamed::Reading)). A generic public type would show
//! the private reader in its parameters, so a macro writes one type per protocol.

/// Declares a body type that wraps [`Measuring`](super::streamed::Measuring) and hides how it reads
/// frames.
///
/// The functions that make a body are visible to the parent of the module in which the macro is
/// used.
macro_rules! measured_body {
    (
        $(#[$about:meta])*
        pub struct $name:ident<B>, read by $reading:ty
    ) => {
        ::pin_project_lite::pin_project! {
            $(#[$about])*
            pub struct $name<B> {
                #[pin]
                inner: $crate::http::calls::streamed::Measuring<B, $reading>,
            }
        }

        impl<B> $name<B> {
            /// Returns a body that settles `ticket` by what `reading` makes of it.
            pub(super) fn new(
                inner: B,
                ticket: $crate::call::ticket::Ticket,
                reading: $reading,
            ) -> Self {
                let inner = $crate::http::calls::streamed::Measuring::new(inner, ticket, reading);
                Self { inner }
            }

            /// Returns a body whose call is already settled.
            pub(super) fn settled(inner: B) -> Self {
                let inner = $crate::http::calls::streamed::Measuring::settled(inner);
                Self { inner }
            }

            /// Returns the wrapped body.
            pub fn get_ref(&self) -> &B {
                self.inner.get_ref()
            }

            /// Returns the wrapped body and ends the measurement.
            ///
            /// The call ends here, and what is read from the returned body is not measured. The
            /// call is neutral, unless the partner had been silent for `hang_limit`.
            pub fn into_inner(self) -> B {
                self.inner.into_inner()
            }
        }

        impl<B: ::http_body::Body> ::http_body::Body for $name<B> {
            type Data = B::Data;
            type Error = B::Error;

            fn poll_frame(
                self: ::std::pin::Pin<&mut Self>,
                cx: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<Option<Result<::http_body::Frame<B::Data>, B::Error>>> {
                self.project().inner.poll_frame(cx)
            }

            fn is_end_stream(&self) -> bool {
                self.inner.is_end_stream()
            }

            fn size_hint(&self) -> ::http_body::SizeHint {
                self.inner.size_hint()
            }
        }

        impl<B> $crate::call::upload_wait::Ticketed for $name<B> {
            fn ticket(
                self: ::std::pin::Pin<&mut Self>,
            ) -> Option<&mut $crate::call::ticket::Ticket> {
                self.project().inner.ticket()
            }
        }

        impl<B: Default> Default for $name<B> {
            fn default() -> Self {
                Self::settled(B::default())
            }
        }

        impl<B> ::std::fmt::Debug for $name<B> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("settled", &self.inner.is_settled())
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use measured_body;
