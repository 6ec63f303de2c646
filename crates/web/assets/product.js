/* Shows the pictures of an item and the facts about it. */
import { $, attr, chosen, putText, speak, text } from '/assets/texts.js';

/** Shows the first picture, and a small version of each picture to choose from. */
export function showPictures(item) {
  const pictures = [
    ...(item.image ? [{ image: item.image, alt: item.title }] : []),
    ...(item.gallery ?? []),
  ];
  const buttons = pictures.map((picture, index) => button(picture, index, pictures.length));
  $('#gallery').replaceChildren(...buttons);
  $('#gallery').hidden = pictures.length < 2;
  show(pictures[0]);
}
/* Without a picture, the page keeps its drawing of a door. */
function show(picture) {
  const large = $('#image');
  large.hidden = !picture;
  if (!picture) return;
  large.onerror = () => {
    large.hidden = true;
  };
  const [alt, language] = chosen(picture.alt);
  attr(large, 'src', picture.image);
  /* The first picture, from the server's HTML, may have failed to load before this script ran. */
  if (large.complete && !large.naturalWidth) large.hidden = true;
  attr(large, 'alt', alt);
  speak(large, language);
  for (const small of $('#gallery').children)
    attr(small, 'aria-pressed', small.picture === picture);
}
function button(picture, index, of) {
  const el = document.createElement('button'),
    img = document.createElement('img');
  const [alt] = chosen(picture.alt);
  el.type = 'button';
  el.picture = picture;
  attr(el, 'aria-label', text('picture', { n: index + 1, of }) + (alt && index ? ': ' + alt : ''));
  Object.assign(img, {
    alt: '',
    loading: 'lazy',
    src: picture.image,
    onerror: () => {
      el.hidden = true;
    },
  });
  el.append(img);
  el.onclick = () => show(picture);
  return el;
}

export function showFacts(item) {
  const facts = item.facts ?? [];
  $('#facts').hidden = !facts.length;
  $('#facts-rows').replaceChildren(
    ...facts.map(({ name, value }) => {
      const row = document.createElement('tr'),
        head = document.createElement('th'),
        cell = document.createElement('td');
      head.scope = 'row';
      putText(head, name);
      putText(cell, value);
      row.append(head, cell);
      return row;
    }),
  );
}

/** While the price at the top is out of view, the button's bar also shows the item's name and
   price. */
export function watchPrice() {
  const watch = ([price]) => $('#press').classList.toggle('is-alone', !price.isIntersecting);
  new IntersectionObserver(watch).observe($('#price'));
}
