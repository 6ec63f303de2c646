/* The views for the payments and the refunds of all orders. */
import { html, Input, moment, money, More, Pill, Problem, query, seg, t, Table, Tabs, usePages,
  word } from '/assets/console-kit.js';
import { useSearchForm } from '/assets/console-fields.js';

export const MoneyTabs = ({ now }) => html`<${Tabs} label=${t('money')} now=${now}
  views=${['orders', 'payments', 'refunds'].map(name => [name, '#/' + name, t(name)])} />`;

const KINDS = { captured: 'good', settled: 'good', failed: 'bad', pending: 'warn' };
const order = row => html`<a class="code short" href=${'#/orders/' + seg(row.order)}>
  ${row.order.slice(0, 12)}…</a>`;
const state = group => row => html`<${Pill} kind=${KINDS[row.state]}>
  ${word(group, row.state)}<//>`;
const payment = row => html`<span class="code wrap">${row.payment}</span>`;

const columns = {
  payments: () => [
    [t('time'), row => moment(row.at), 'nowrap'],
    [t('payment'), payment],
    [t('order'), order],
    [t('amount'), row => money(row.amount), 'end'],
    [t('state'), state('payment')],
    [t('provider'), row => row.provider],
  ],
  refunds: () => [
    [t('time'), row => moment(row.at), 'nowrap'],
    [t('payment'), payment],
    [t('order'), order],
    [t('amount'), row => money(row.amount), 'end'],
    [t('state'), state('refund')],
    [t('reason'), row => word('cause', row.cause)],
    [t('settled_at'), row => moment(row.settled_at), 'nowrap'],
    [t('error'), row => html`<span class="wrap">${row.error ?? '–'}</span>`],
  ],
};

/** Lists payments or refunds, newest first, for all orders or for one order. */
const list = (name, idName) => ({ search }) => {
  const form = useSearchForm(search);
  const found = usePages(`/v1/admin/${name}` + query({ order: search.order, limit: 50 }), name);
  const find = event => {
    event.preventDefault();
    location.hash = `#/${name}` + query({ order: new FormData(event.target).get('order').trim() });
  };
  return html`<div class="lead"><h1>${t(name)}</h1><div class="lead__do">
      <a class="button" download href=${`/v1/admin/exports/${name}.csv`}>${t('as_csv')}</a></div></div>
    <${MoneyTabs} now=${name} />
    <form class="card filters" role="search" onSubmit=${find} ref=${form}>
      <${Input} label=${t('find.id')} name="order" defaultValue=${search.order ?? ''}
        spellcheck=${false} autocapitalize="none" />
      <p class="filters__do"><button class="button button--main">${t('find')}</button></p>
    </form>
    <${Problem} error=${found.error} />
    <${Table} caption=${t(name)} card=${true} empty=${t('no_money')} columns=${columns[name]()}
      rows=${found.rows?.map(row => ({ id: row[idName], ...row }))} />
    <${More} list=${found} />`;
};

export const pages = [
  {
    path: '/payments',
    title: () => t('payments'),
    under: '/orders',
    view: list('payments', 'payment'),
  },
  { path: '/refunds', title: () => t('refunds'), under: '/orders', view: list('refunds', 'refund') },
];
