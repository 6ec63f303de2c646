/* Creates elements. Texts are inserted only as text, never as HTML. */

/** `el('p', { class: 'soft' }, 'text', child)`. Functions become listeners. */
export function el(tag, members = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(members)) {
    if (typeof value === 'function') made.addEventListener(name, value);
    else if (value !== undefined && value !== false)
      made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}

/** Creates a text with `code` and **strong** parts. */
export const prose = words =>
  words.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map(part => {
    if (part.startsWith('`')) return el('code', {}, part.slice(1, -1));
    return part.startsWith('**') ? el('strong', {}, part.slice(2, -2)) : part;
  });

/** Creates the paragraphs of a text, without its tables. */
export const paragraphs = words =>
  (words ?? '')
    .split('\n\n')
    .filter(part => part && !part.startsWith('|'))
    .map(part => el('p', {}, prose(part)));
