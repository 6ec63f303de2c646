/* Functions that the scripts for the states of the sale page and of the order page share. */

const chinese = () => document.documentElement.lang.startsWith('zh');

/** Returns the texts of parts that are shown. A part that is not shown has an empty text. */
export const wordsOf = parts =>
  parts.map(el =>
    !el?.checkVisibility({ visibilityProperty: true })
      ? ''
      : el.tagName === 'INPUT'
        ? el.value
        : el.textContent,
  );

/** Returns the faults that texts of any page can have. */
export function faultsOfWords(words) {
  const faults = [],
    letters = chinese() ? /[A-Za-z]{4,}/ : /[\u2e80-\uffef]/;
  if (words.some(word => /undefined|NaN|Invalid|null|\{|^[a-z]+\.[a-z+]+$/.test(word)))
    faults.push('a word is missing');
  const foreign = words.filter(word => letters.test(word));
  if (foreign.length) faults.push(`another language: “${foreign}”`);
  return faults;
}
/** Returns a fault if the text of a part is cut off. */
export function faultsOfSize(parts) {
  const cut = parts.filter(el => el && el.scrollWidth > el.clientWidth + 1 && el.clientWidth);
  return cut.length ? ['cut: ' + cut.map(el => el.textContent)] : [];
}

const probe = document.createElement('i');
document.body.append(probe);
const isAmber = el => {
  probe.style.background = 'var(--color-accent)';
  return getComputedStyle(el).backgroundColor === getComputedStyle(probe).backgroundColor;
};
/** Returns the faults of amber buttons: an amber button must do something. `idle` is true if no
   button does anything in this state. */
export function faultsOfButtons(idle) {
  const amber = [...document.querySelectorAll('.buy')].filter(
    el => el.checkVisibility() && isAmber(el),
  );
  return amber
    .filter(el => idle || el.getAttribute('aria-disabled') === 'true')
    .map(el => `“${el.textContent}” is amber, and does nothing`);
}

/** Stores one state for each name. The test checks these states with axe-core. */
export class Kept {
  #states = new Map();
  /** Stores a state with the function that draws it, if the name is new. */
  add(name, draw) {
    if (!this.#states.has(name)) this.#states.set(name, draw);
  }
  names = () => [...this.#states.keys()];
  draw = name => this.#states.get(name)();
  /** Runs `look` on each new kind of state, from state number `from` on. Stops after `budget_ms`,
     because one script of a test must not run too long. In the dark scheme or on a desktop,
     states that differ only in their words are one kind, because words change neither colours
     nor the structure. Returns the findings, and the number of the next state. */
  async look(look, { scheme, from, budget_ms }) {
    const end = performance.now() + budget_ms,
      names = this.names(),
      findings = [],
      isLight = scheme === 'light',
      isPhone = innerWidth < 600;
    for (let i = from; i < names.length; i += 1) {
      if (performance.now() > end) return { findings, next: i };
      this.draw(names[i]);
      const print = [
        scheme,
        isPhone,
        isLight && document.documentElement.lang,
        printOf(document.querySelector('main'), isLight && isPhone),
      ].join('\n');
      if (this.#seen.has(print)) continue;
      this.#seen.add(print);
      const { rules, violations } = await new Promise(look);
      findings.push({ name: names[i], rules, violations });
    }
    return { findings, next: null };
  }
  #seen = new Set();
}
/* Returns a text that differs for states that are drawn differently. Ignores digits. */
function printOf(el, withWords) {
  const isShown = one => one.checkVisibility({ visibilityProperty: true });
  const shown = [...el.querySelectorAll('*')].filter(isShown);
  return shown
    .map(one =>
      [
        one.id,
        one.getAttribute('class'),
        JSON.stringify(one.dataset),
        one.getAttribute('aria-disabled'),
        withWords && !one.children.length ? one.textContent.replace(/\d+/g, '0') : '',
      ].join(' '),
    )
    .join('\n');
}
