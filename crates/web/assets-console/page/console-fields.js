/* Fields of forms, and links to views. */
import { t } from '/assets/console-format.js';
import { html, useEffect, useRef } from '/assets/preact-htm.js';

let ids = 0;
export function Field({ label, hint, fault, children, id }) {
  const own = useRef(null);
  own.current ??= id ?? `field-${++ids}`;
  const about = [hint && own.current + '-hint', fault && own.current + '-fault'];
  return html`<div class=${'field' + (fault ? ' field--bad' : '')}>
    <label for=${own.current}>${label}</label>
    ${children({
      id: own.current,
      'aria-describedby': about.filter(Boolean).join(' ') || undefined,
      'aria-invalid': fault ? 'true' : undefined,
    })}
    ${hint && html`<p class="hint" id=${own.current + '-hint'}>${hint}</p>`}
    ${fault && html`<p class="fault" id=${own.current + '-fault'}>${fault}</p>`}
  </div>`;
}

/** The `<input>` element gets all other attributes. */
export const Input = ({ label, hint, fault, id, ...more }) => html`<${Field} label=${label}
  hint=${hint} fault=${fault} id=${id}>${props => html`<input ...${props} ...${more} />`}<//>`;

/** Returns a handler for the error of a request that must not simply be repeated. If the error does
   not say whether the server made the change, the handler throws the text of `key` instead. */
export const unlessUnknown = key => error => {
  throw error.status === 0 || error.status >= 500 ? new Error(t(key)) : error;
};

/** Returns a reference for the form of a search. When the search of the view changes, for example
   by the browser's button "Back", the form's inputs show the new search. */
export function useSearchForm(search) {
  const form = useRef(null);
  useEffect(() => {
    for (const input of form.current.querySelectorAll('input')) {
      input.value = search[input.name] ?? '';
    }
  }, [JSON.stringify(search)]);
  return form;
}

/** `views` are [name, address, title], and `now` is the name of the shown view. */
export const Tabs = ({ label, views, now }) => html`<nav class="tabs" aria-label=${label}>
  ${views.map(([name, to, title]) => html`<a href=${to}
    aria-current=${name === now ? 'page' : undefined}>${title}</a>`)}
</nav>`;
