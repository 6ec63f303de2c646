/* Runs before the browser paints anything: chooses the language, sends the page's first request,
   and moves a token from the address into this tab's storage. In a browser without modules, the
   script stops at once, and the page shows the texts for visitors without JavaScript. */
(() => {
  'use strict';
  if (!('noModule' in HTMLScriptElement.prototype)) return;
  const root = document.documentElement;
  const attempt = work => {
    try {
      return work();
    } catch {
      return null;
    }
  };

  const known = lang => (/^zh/i.test(lang) ? 'zh' : /^en/i.test(lang) ? 'en' : null);
  const asked = known(new URLSearchParams(location.search).get('lang') ?? '');
  if (asked) attempt(() => localStorage.setItem('doorbuster.lang', asked));
  const lang =
    asked ??
    known(attempt(() => localStorage.getItem('doorbuster.lang')) ?? '') ??
    (navigator.languages ?? []).map(known).find(Boolean) ??
    'en';
  root.lang = lang === 'zh' ? 'zh-Hans' : 'en';
  root.classList.add('js');
  /* The server's HTML has the texts and the picture of the first item. If the address names no
     item, the page shows them before its script is ready. */
  if (!/[#&]item=/.test(location.hash)) root.classList.add('early');

  /* This request is sent before the page's script has loaded. api.js takes its answer. */
  const [, page, id] = location.pathname.split('/'),
    path =
      page === 'sale' && /^[\w-]+$/.test(id)
        ? `/v1/sales/${id}/status?v=`
        : page === ''
          ? '/v1/sales?limit=48'
          : null;
  if (path)
    window.doorbusterEarly = attempt(() => {
      const answer = fetch((window.doorbuster?.api ?? '') + path, {
        signal: AbortSignal.timeout(10_000),
      });
      answer.catch(() => {}); /* api.js handles a failure */
      return { path, sent: performance.now(), answer };
    });

  /* The shop links to /sale/{sale}#token=<JWT>. The token must not stay in the address or in the
     history. */
  const parts = new URLSearchParams(location.hash.slice(1)),
    token = parts.get('token');
  if (token) {
    if (
      attempt(() => {
        sessionStorage.setItem('doorbuster.token', token);
        return true;
      }) === null
    )
      window.doorbusterToken = token;
    parts.delete('token');
    history.replaceState(
      null,
      '',
      location.pathname + location.search + (String(parts) && '#' + parts),
    );
  }
  addEventListener('hashchange', () => {
    if (/[#&]token=/.test(location.hash)) location.reload();
  });
})();
