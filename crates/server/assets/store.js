/* The browser's storage as small JSON values. If storage is refused (private windows, strict
   settings), values last as long as the page: all works, but a reload loses them. */
function over(name) {
  const spare = new Map();
  const area = () => {
    try {
      return window[name];
    } catch {
      return null;
    }
  };
  return {
    get(key) {
      try {
        return JSON.parse(area().getItem('doorbuster.' + key));
      } catch {
        return spare.get(key) ?? null;
      }
    },
    set(key, value) {
      spare.set(key, value);
      try {
        area().setItem('doorbuster.' + key, JSON.stringify(value));
      } catch {
        /* kept in `spare` */
      }
    },
    drop(key) {
      spare.delete(key);
      try {
        area().removeItem('doorbuster.' + key);
      } catch {
        /* nothing was kept */
      }
    },
  };
}
/** This tab, over reloads. */
export const tab = over('sessionStorage');
/** This browser, over tabs. */
export const browser = over('localStorage');
