/* The list of sales, with phase and key numbers. */
import { count, html, moment, More, Phase, Problem, t, usePages, usePoll } from
  '/assets/console-kit.js';
import { SaleForm } from '/assets/console-form.js';

/** Shows a sale's units in one line. They are read while the list is on the screen. */
function Numbers({ sale }) {
  const { data } = usePoll(
    sale.phase === 'draft' ? null : `/v1/admin/sales/${sale.id}/stock`,
    ['open', 'paused'].includes(sale.phase) ? 5 : 60,
  );
  if (!data) return html`<span class="soft">–</span>`;
  const sum = name => data.items.reduce((all, item) => all + item[name], 0);
  return html`<span>${t('units_line', {
    paid: count(sum('paid')),
    held: count(sum('held')),
    left: count(sum('pool') + sum('in_slots')),
  })}</span>`;
}

function Sales({ can }) {
  const list = usePages('/v1/admin/sales?limit=50', 'sales');
  return html`<div class="lead">
      <h1>${t('sales')}</h1>
      <div class="lead__do">
        ${can('operator') && html`<a class="button button--main" href="#/new">${t('new_sale')}</a>`}
      </div>
    </div>
    <${Problem} error=${list.error} />
    ${list.rows?.length === 0 && html`<p class="empty card">${t('no_sales')}</p>`}
    <ul class="cards">
      ${(list.rows ?? []).map(
        sale => html`<li class="card sale-card" key=${sale.id}>
          <div class="sale-card__head">
            <h2><a href=${`#/sales/${sale.id}`}>${sale.title}</a></h2>
            <${Phase} phase=${sale.phase} />
          </div>
          <p class="soft"><span class="code">${sale.id}</span> · ${t('items_n', {
            n: sale.items.length,
          })}${sale.starts_at && html` · ${t('starts', { at: moment(sale.starts_at) })}`}</p>
          <p><${Numbers} sale=${sale} /></p>
          <p class="sale-card__do">
            <a href=${`#/sales/${sale.id}`}>${t('live')}</a>
            <a href=${`#/sales/${sale.id}/edit`}>${t('edit')}</a>
            <a href=${`#/new?copy=${encodeURIComponent(sale.id)}`}>${t('copy')}</a>
            <a href=${`#/sales/${sale.id}/report`}>${t('report')}</a>
          </p>
        </li>`,
      )}
    </ul>
    <${More} list=${list} />`;
}

/** Loads the sale with which a form begins. */
function FormFor({ id, children }) {
  const { data, error } = usePoll(id ? `/v1/admin/sales/${encodeURIComponent(id)}` : null, 0);
  if (id && !data) return html`<${Problem} error=${error} /><p class="soft">${t('loading')}</p>`;
  return children(data);
}

const New = ({ search }) =>
  html`<${FormFor} id=${search.copy}>
    ${sale => html`<${SaleForm} sale=${sale} isNew=${true} />`}
  <//>`;
const Edit = ({ params }) =>
  html`<${FormFor} id=${params.sale}>
    ${sale => html`<${SaleForm} sale=${sale} isNew=${false} />`}
  <//>`;

export const pages = [
  { path: '/sales', title: () => t('sales'), nav: true, view: Sales },
  { path: '/new', title: () => t('new_sale'), view: New },
  { path: '/sales/:sale/edit', title: ({ sale }) => `${t('edit')}: ${sale}`, view: Edit },
];
