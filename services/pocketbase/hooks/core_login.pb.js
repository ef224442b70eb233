/// Core's own hook: a limit for guesses of a superuser's password. Written by the wrapper; do not
/// edit. PocketBase's own limiter is not used: its preset rules would limit everything else, too.
///
/// Only failures count, 10 per minute and address, so that a user with the right password never has
/// to wait. Guesses that are being compared count as well, or many concurrent ones would all pass.
/// Handlers run isolated from each other; shared code is in `core_login.js`.

onRecordAuthWithPasswordRequest((e) => {
  require(`${__hooks}/core_login.js`).limited(e);
}, "_superusers");

onRecordAuthWithOTPRequest((e) => {
  require(`${__hooks}/core_login.js`).limited(e);
}, "_superusers");
