/* What this server's owner has configured for the buyer's pages. The server writes this file at boot;
   this default stands in when the pages are served as plain files. */
window.doorbuster = {
  shop: 'Doorbuster',
  sign_in_url: null,
  guest: false,
  sandbox: false,
  api: null,
};
