/** What stands before a function of the program on AWS, and before its port on one machine. It imports no heavy code. */
export { admit } from './admission.ts'
export { type HashedBody, verifySignature } from './signature.ts'
export { strangerOf } from './strangers.ts'
