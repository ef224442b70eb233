/// Core's own hook: a limit for guesses of a superuser's password. Written by the wrapper; not to
/// edit. PocketBase's own limiter is not used: its preset rules would limit everything else, too.
///
/// Only failures count, 10 a minute and address, so that who knows the password is never kept
/// waiting. Guesses that are being compared at the same time count as well, or all of many at once
/// would pass. Handlers run isolated from each other; what they share is in `core_login.js`.

onRecordAuthWithPasswordRequest((e) => {
  require(`${__hooks}/core_login.js`).limited(e);
}, "_superusers");

onRecordAuthWithOTPRequest((e) => {
  require(`${__hooks}/core_login.js`).limited(e);
}, "_superusers");
