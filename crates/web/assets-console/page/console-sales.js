/* The list of sales, with each sale's phase and most important numbers. */
import { api, count, Fresh, html, moment, money, More, Phase, Problem, query, seg, t, Table, Tabs,
  useEffect, usePages, usePoll, useState, word } from '/assets/console-kit.js';
import { plainText } from '/assets/console-texts.js';
import { Bar, partsOf, sumOf } from '/assets/console-flow.js';
import { SaleForm } from '/assets/console-form.js';

const PHASES = ['draft', 'scheduled', 'open', 'paused', 'closed'];

/* The interval in seconds at which the list is read again. Sales open and close by themselves. */
const LIST_SECS = 5;

/** Shows the numbers of a sale. Reads them again while the list is on the screen. */
function Numbers({ sale }) {
  const { data } = usePoll(
    sale.phase === 'draft' ? null : `/v1/admin/sales/${seg(sale.id)}/stock`,
    ['open', 'paused'].includes(sale.phase) ? 5 : 60,
  );
  if (!data) return html`<span class="soft">–</span>`;
  const counted = data.items.some(item => typeof item.total === 'number');
  const parts = ['paid', 'held', 'in_slots', 'pool'];
  const all = Object.fromEntries(parts.map(name => [name, sumOf(data.items, name)]));
  return html`<span>${t(counted ? 'units_line' : 'units_line_unlimited', {
      paid: count(all.paid),
      held: count(all.held),
      left: count(all.pool + all.in_slots),
    })}
    ${counted && html`<br /><${Bar} parts=${partsOf(all)} kind="mini" />`}</span>`;
}

function prices({ items }) {
  const sorted = items.map(item => item.price).sort((a, b) => a.amount_minor - b.amount_minor);
  const [least, most] = [sorted[0], sorted.at(-1)].map(money);
  return least === most ? least : `${least} – ${most}`;
}

function Sales({ search, can }) {
  const { phase } = search;
  const list = usePages('/v1/admin/sales' + query({ limit: 50, phase }), 'sales', LIST_SECS);
  const none = list.rows?.length === 0;
  return html`<div class="lead">
      <h1>${t('sales')}</h1>
      <div class="lead__do">
        ${can('operator') && html`<a class="button button--main" href="#/new">${t('new_sale')}</a>`}
      </div>
    </div>
    <${Tabs} label=${t('phases')} now=${phase} views=${[undefined, ...PHASES].map(name =>
      [name, '#/sales' + query({ phase: name }), name ? word('phase', name) : t('all_sales')])} />
    <${Problem} error=${list.error} />
    ${none && !phase && html`<section class="blank card"><h2>${t('no_sales')}</h2>
      <p class="soft">${t('no_sales.about')}</p></section>`}
    ${!(none && !phase) && html`<${Fresh} poll=${list}><${Table} caption=${t('sales')} rows=${list.rows} card=${true}
      empty=${t('no_sales_in_phase')} columns=${[
        [t('sale'), row => html`<span><a href=${`#/sales/${seg(row.id)}`}><b>${plainText(row.title)}</b></a>
          <br /><span class="soft"><span class="code">${row.id}</span> · ${t('items_n', {
            n: row.items.length,
          })}</span></span>`],
        [t('phase'), row => html`<${Phase} phase=${row.phase} />`],
        [t('when'), row => html`<span>${row.starts_at
          ? t('starts', { at: moment(row.starts_at) }) : t('no_start')}${row.ends_at &&
          html`<br /><span class="soft">${t('ends', { at: moment(row.ends_at) })}</span>`}</span>`],
        [t('price'), row => prices(row), 'end'],
        [t('totals'), row => html`<${Numbers} sale=${row} />`],
        [t('do'), row => html`<span class="row-do">
          <a class="button" href=${`#/sales/${seg(row.id)}`}>${t('live')}</a>
          <a class="button button--plain" href=${`#/sales/${seg(row.id)}/edit`}>${t('edit')}</a>
          ${can('operator') && html`<a class="button button--plain"
            href=${`#/new?copy=${seg(row.id)}`}>${t('copy')}</a>`}
          <a class="button button--plain" href=${`#/sales/${seg(row.id)}/report`}>${t('report')}</a>
        </span>`],
      ]} /><//>`}
    <${More} list=${list} />`;
}

function FormFor({ id, isNew, can }) {
  const [{ loaded, error }, set] = useState({ loaded: id ? null : {}, error: null });
  useEffect(() => {
    if (!id) return;
    api.tagged('GET', `/v1/admin/sales/${seg(id)}`).then(
      loaded => set({ loaded, error: null }),
      error => set({ loaded: null, error }),
    );
  }, []);
  if (error) return html`<${Problem} error=${error} />`;
  if (!loaded) return html`<p class="soft">${t('loading')}</p>`;
  return html`<${SaleForm} loaded=${loaded.data} tag=${loaded.etag} isNew=${isNew} can=${can} />`;
}

const New = ({ search, can }) =>
  html`<${FormFor} key=${search.copy} id=${search.copy} isNew=${true} can=${can} />`;
const Edit = ({ params, can }) => html`<${FormFor} id=${params.sale} isNew=${false} can=${can} />`;

export const pages = [
  { path: '/sales', title: () => t('sales'), nav: true, view: Sales },
  { path: '/new', title: () => t('new_sale'), under: '/sales', view: New },
  {
    path: '/sales/:sale/edit',
    title: ({ sale }) => `${t('edit')}: ${sale}`,
    under: '/sales',
    view: Edit,
  },
];
