/* The entry of the console: signs in, chooses the view for an address, and draws the frame. */
import { api, clock, Field, html, onSignedOut, Problem, render, say, serverNow, suspendDialog, t,
  useEffect, useState, useTick, word, zh } from '/assets/console-kit.js';
import { pages as sales } from '/assets/console-sales.js';
import { pages as live } from '/assets/console-live.js';
import { pages as report } from '/assets/console-report.js';
import { pages as orders } from '/assets/console-orders.js';
import { pages as money } from '/assets/console-money.js';
import { pages as more } from '/assets/console-more.js';
import { pages as events } from '/assets/console-events.js';
import { pages as access } from '/assets/console-access.js';

const pages = [
  ...sales, ...live, ...report, ...orders, ...money, ...more, ...events, ...access,
];
/* Scripts cannot read the session's cookie, so the storage remembers a sign-in under this key. */
const SIGNED_IN = 'doorbuster.console';
/* Whether operators can also sign in at an OpenID Connect issuer. The server writes this into the
   page. */
const HAS_ISSUER = 'issuer' in document.getElementById('app').dataset;
/* The result of a sign-in at the issuer. A failure is shown until somebody signs in. */
const arrival = new URLSearchParams(location.search);
let failed = arrival.get('sign-in');
if (arrival.has('signed-in')) localStorage.setItem(SIGNED_IN, 'yes');
if (failed || arrival.has('signed-in')) {
  history.replaceState(null, '', location.pathname + location.hash);
}
const RANKS = ['viewer', 'operator', 'admin'];

/** `#/sales/spring?item=phone` is an address of a view. */
function route(hash) {
  const [path, search = ''] = (hash.replace(/^#/, '') || '/sales').split('?');
  let wanted;
  try {
    wanted = path.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    // The page's address has an invalid escape, such as %E0.
    return { page: pages[0], params: {}, search: {} };
  }
  for (const page of pages) {
    const parts = page.path.split('/').filter(Boolean);
    if (parts.length !== wanted.length) continue;
    const params = {};
    const fits = parts.every((part, at) => {
      if (!part.startsWith(':')) return part === wanted[at];
      params[part.slice(1)] = wanted[at];
      return true;
    });
    if (fits) return { page, params, search: Object.fromEntries(new URLSearchParams(search)) };
  }
  return { page: pages[0], params: {}, search: {} };
}

const Brand = () => html`<a class="brand" href="#/sales">
  <svg viewBox="0 0 24 28" fill="none" stroke-width="2.5" aria-hidden="true">
    <path d="M3 27V11a9 9 0 0 1 18 0v16" stroke="currentColor" />
    <path class="brand__slit" d="M12 6v21" />
  </svg>
  <span>Doorbuster</span>
</a>`;
const Language = () => html`<a lang=${zh ? 'en' : 'zh-Hans'}
  href=${(zh ? '?lang=en' : '?lang=zh') + location.hash}>${zh ? 'English' : '中文'}</a>`;

function SignIn({ done, ended }) {
  const [state, set] = useState({ busy: false, error: null });
  const send = async event => {
    event.preventDefault();
    const key = new FormData(event.target).get('key').trim();
    set({ busy: true, error: null });
    try {
      await api.send('POST', '/v1/admin/session', { key });
      await done();
    } catch (error) {
      set({ busy: false, error });
    }
  };
  return html`<main class="signin card" id="main">
    <div class="signin__head"><${Brand} /><${Language} /></div>
    <h1>${t('sign_in')}</h1>
    ${ended && html`<p class="alarm" role="status">
      ${t(HAS_ISSUER ? 'session_ended.issuer' : 'session_ended')}</p>`}
    ${failed && html`<p class="alarm alarm--bad" role="alert">${word('sign_in', failed)}</p>`}
    <form onSubmit=${send}>
      <${Field} label=${t('key')} hint=${t('key_hint')}>
        ${props => html`<input type="text" name="username" value="operator" hidden readonly
            autocomplete="username" />
          <input ...${props} name="key" type="password" autocomplete="current-password" required
            autofocus />`}
      <//>
      <${Problem} error=${state.error} />
      <p><button class="button button--main" aria-disabled=${String(state.busy)}>
        ${t('sign_in')}
      </button></p>
    </form>
    ${HAS_ISSUER && html`<p>${t('sign_in_or')}</p>
      <p><a class="button" href="/console/sign-in">${t('sign_in_issuer')}</a></p>`}
  </main>`;
}

/** Shows the server's time, because this time decides when a sale opens. */
function Clock() {
  useTick();
  return html`<span class="top__clock">${t('server_time')} <b>${clock(serverNow())}</b></span>`;
}

function Frame({ session, signOut }) {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const moved = () => {
      setHash(location.hash);
      scrollTo(0, 0);
      document.getElementById('main')?.focus();
    };
    addEventListener('hashchange', moved);
    /* The address can change between the first drawing and this effect. */
    setHash(location.hash);
    return () => removeEventListener('hashchange', moved);
  }, []);
  const { page, params, search } = route(hash);
  const title = page.title(params);
  useEffect(() => {
    document.title = `${title} – Doorbuster`;
    document.querySelector('.views [aria-current]')?.scrollIntoView({ block: 'nearest' });
  }, [title]);
  const can = role => RANKS.indexOf(session.role) >= RANKS.indexOf(role);
  return html`<a class="skip" href="#main" onClick=${event => {
      event.preventDefault();
      document.getElementById('main').focus();
    }}>${t('skip')}</a>
    <header class="top">
      <${Brand} />
      <nav class="views" aria-label=${t('views')}>
        ${pages.filter(entry => entry.nav).map(
          entry => html`<a
            href=${'#' + entry.path}
            aria-current=${entry.path === (page.under ?? page.path) ? 'page' : undefined}
          >${(entry.short ?? entry.title)({})}</a>`,
        )}
      </nav>
      <p class="top__end">
        <${Clock} />
        <span class="top__who">${word('key_name', session.key.name || session.key.id)} · ${
          word('role', session.role)}</span>
        <${Language} />
        <button class="button button--plain" type="button" onClick=${signOut}>
          ${t('sign_out')}
        </button>
      </p>
    </header>
    <main class="desk" id="main" tabindex="-1">
      <div class="view" key=${hash.split('?')[0]}>
        <${page.view} params=${params} search=${search} can=${can} />
      </div>
    </main>`;
}

const RETRY_MS = 2000;

function App() {
  const [state, set] = useState({ session: undefined, ended: false, error: null });
  const read = async () => {
    try {
      set({ session: await api.get('/v1/admin/session'), ended: false });
      suspendDialog(false);
      failed = null;
      localStorage.setItem(SIGNED_IN, 'yes');
    } catch (error) {
      if (error.status !== 401) throw error;
      localStorage.removeItem(SIGNED_IN);
      set({ session: null, ended: false });
    }
  };
  useEffect(() => {
    onSignedOut(() => {
      set(old => ({ session: old.session, ended: true }));
      suspendDialog(true);
    });
    // Only the server knows whether the session still exists. If it does not respond, the page
    // tries again.
    const start = () => read().catch(error => {
      set({ session: undefined, ended: false, error });
      setTimeout(start, RETRY_MS);
    });
    // If no operator has signed in with this browser, there is no session to read.
    if (localStorage.getItem(SIGNED_IN)) start();
    else set({ session: null, ended: false });
  }, []);
  if (state.session === undefined) {
    return state.error ? html`<main class="signin card" id="main"><div class="signin__head"><${Brand}
        /><${Language} /></div><h1>${t('no_answer')}</h1><${Problem} error=${state.error} />
        <p class="soft">${t('no_answer.about')}</p></main>`
      : html`<p class="empty soft">${t('loading')}</p>`;
  }
  const signOut = async () => {
    try {
      await api.send('DELETE', '/v1/admin/session');
    } catch (error) {
      // Status 401 means that the session has already ended. After any other error, the session may
      // still exist, so the operator stays signed in.
      if (error.status !== 401) {
        say(t('sign_out_failed', { error: error.message }));
        return;
      }
    }
    localStorage.removeItem(SIGNED_IN);
    set({ session: null, ended: false });
  };
  if (state.session === null) return html`<${SignIn} done=${read} />`;
  // When the session ends, the view is hidden but not removed, so that text in its forms is not
  // lost.
  return html`${state.ended && html`<${SignIn} done=${read} ended=${true} />`}
    <div hidden=${state.ended}><${Frame} session=${state.session} signOut=${signOut} /></div>`;
}

const root = document.getElementById('app');
root.replaceChildren();
render(html`<${App} />`, root);
