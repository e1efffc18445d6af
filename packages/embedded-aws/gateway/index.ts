/** What stands before a function of the program on AWS, and before its port on one machine. It imports no heavy code. */
export { admit, placesFor } from './admission.ts'
export { oneByOne } from './one-by-one.ts'
export { answerUnreadable, askForBodies, close, listen } from './port.ts'
export { type HashedBody, verifySignature } from './signature.ts'
export { strangerOf } from './strangers.ts'
