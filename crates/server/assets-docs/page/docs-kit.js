/* Makes elements. Text enters the page only as text. */

/** An element: `el('p', { class: 'soft' }, 'text', child)`. Members that are functions listen. */
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

/** A text with `code` and **strong** parts. */
export const prose = words =>
  words.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map(part => {
    if (part.startsWith('`')) return el('code', {}, part.slice(1, -1));
    return part.startsWith('**') ? el('strong', {}, part.slice(2, -2)) : part;
  });

/** The paragraphs of a text, without its tables. */
export const paragraphs = words =>
  (words ?? '')
    .split('\n\n')
    .filter(part => part && !part.startsWith('|'))
    .map(part => el('p', {}, prose(part)));
