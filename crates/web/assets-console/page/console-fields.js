/* Fields of forms, and links to views. */
import { html, useRef } from '/assets/preact-htm.js';

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

/** `views` are [name, address, title], and `now` is the name of the shown view. */
export const Tabs = ({ label, views, now }) => html`<nav class="tabs" aria-label=${label}>
  ${views.map(([name, to, title]) => html`<a href=${to}
    aria-current=${name === now ? 'page' : undefined}>${title}</a>`)}
</nav>`;
