//! Every handler, once: the router and the OpenAPI document read the same list.

use actix_web::web;
use utoipa_actix_web::service_config;

use super::{
    certificate, claim, console, content, drive, events, fault, hardware, history, image, job,
    link, metrics, network, node, openapi, pool, service, session, site, sizing, token, update,
    user, vm, volume,
};

macro_rules! routes {
    ($($handler:path,)*) => {
        /// For the workers, which need no document.
        pub fn plain(config: &mut web::ServiceConfig) {
            $(config.service($handler);)*
        }
        /// For the document.
        pub fn documented(config: &mut service_config::ServiceConfig<'_>) {
            $(config.service($handler);)*
        }
    };
}

routes! {
    site::health, openapi::read,
    claim::check, claim::claim,
    session::login, session::current, session::logout, session::list, session::revoke,
    token::list, token::create, token::read, token::delete,
    user::list, user::create, user::read, user::replace, user::delete, user::password,
    site::read, site::replace,
    certificate::read, certificate::replace, certificate::renew,
    node::list, node::read, node::replace, node::metrics, node::log, node::confirm, node::restart, node::power_off, node::restart_supervisor,
    update::read, update::bundle, update::fetch, update::apply, update::remove,
    metrics::read, sizing::size,
    link::list, drive::list, service::list,
    hardware::read, hardware::check_now, hardware::override_check, hardware::withdraw,
    pool::list, pool::create, pool::read, pool::delete,
    volume::list, volume::create, volume::read, volume::replace, volume::delete,
    image::list, image::create, image::read, image::replace, image::delete, content::write, content::offset,
    network::list, network::create, network::read, network::replace, network::delete,
    vm::list, vm::create, vm::read, vm::replace, vm::delete, vm::metrics, console::screenshot, console::vnc, console::serial, vm::act,
    job::list, job::read, job::cancel,
    fault::list, history::list, events::stream,
}
